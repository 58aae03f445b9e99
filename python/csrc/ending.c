// The end of the interpreter, while threads of its are within Swift. A thread that asks for the GIL then is ended on the
// spot, with all that Swift has on its stack and lends to other threads; so none asks.
#include <unistd.h>

#include "core.h"
#include <pythread.h>

/// Threads that are on their way to Python from within Swift, or back.
static int64_t visitors;
static int32_t is_ending;
/// The thread that ends the interpreter may still ask: it has functions of its own to call at the end.
static unsigned long ending_thread;
/// A child after a fork has none of its parent's threads.
static pid_t process;

bool core_is_kept_out(void) {
    return __atomic_load_n(&is_ending, __ATOMIC_SEQ_CST) && PyThread_get_thread_ident() != ending_thread;
}

bool core_visit_python(void) {
    __atomic_fetch_add(&visitors, 1, __ATOMIC_SEQ_CST);
    if (!core_is_kept_out()) return true;
    core_leave_python();
    return false;
}

void core_leave_python(void) { __atomic_fetch_sub(&visitors, 1, __ATOMIC_SEQ_CST); }

/// Called at exit, before the interpreter ends: waits for those who are in Python, and lets nobody in any more.
static PyObject *end(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    ending_thread = PyThread_get_thread_ident();
    __atomic_store_n(&is_ending, 1, __ATOMIC_SEQ_CST);
    if (getpid() != process) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS
    // A function of a program's that never returns must not keep the process.
    for (int milliseconds = 0; milliseconds < 5000 && __atomic_load_n(&visitors, __ATOMIC_SEQ_CST) > 0; milliseconds++)
        usleep(1000);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef end_method = {"end", end, METH_NOARGS, "Called at exit."};

int core_ending_init(void) {
    process = getpid();
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *function = atexit == NULL ? NULL : PyCFunction_New(&end_method, NULL);
    PyObject *registered = function == NULL ? NULL : PyObject_CallMethod(atexit, "register", "O", function);
    Py_XDECREF(registered);
    Py_XDECREF(function);
    Py_XDECREF(atexit);
    return registered == NULL ? -1 : 0;
}
