#include <time.h>

#include "core.h"

/// Taking the GIL more often than this would slow the work down.
static const int64_t interval_milliseconds = 20;

static int64_t now_milliseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int core_progress_init(ProgressContext *context, PyObject *callable) {
    context->saved = NULL;
    context->callable = callable == Py_None ? NULL : callable;
    context->last_milliseconds = 0;
    if (context->callable != NULL && !PyCallable_Check(callable)) {
        PyErr_SetString(PyExc_TypeError, "progress must be callable, or None");
        return -1;
    }
    return 0;
}

int32_t core_progress(int64_t done, int64_t total, void *opaque) {
    ProgressContext *context = opaque;
    int64_t now = now_milliseconds();
    if (done < total && now - context->last_milliseconds < interval_milliseconds) return 0;
    context->last_milliseconds = now;
    if (!core_visit_python()) return 1;
    PyEval_RestoreThread(context->saved);
    int32_t stop = PyErr_CheckSignals() < 0;
    if (!stop && context->callable != NULL) {
        PyObject *answer = PyObject_CallFunction(context->callable, "LL", (long long)done, (long long)total);
        // False stops; so does an exception, which the call then raises.
        stop = answer == NULL || answer == Py_False;
        Py_XDECREF(answer);
    }
    context->saved = PyEval_SaveThread();
    core_leave_python();
    return stop;
}
