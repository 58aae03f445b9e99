#include <errno.h>

#include "core.h"

static PyObject *format_error, *budget_error;

int core_errors_init(PyObject *module) {
    format_error = PyErr_NewExceptionWithDoc(
        "embedcompress.FormatError", "A file, or parts, that are not a valid table; the message names the rule.",
        PyExc_ValueError, NULL);
    budget_error = PyErr_NewExceptionWithDoc(
        "embedcompress.BudgetError", "A budget below the least that the method can reach, which the message names.",
        PyExc_ValueError, NULL);
    if (format_error == NULL || budget_error == NULL) return -1;
    if (PyModule_AddObjectRef(module, "FormatError", format_error) < 0) return -1;
    return PyModule_AddObjectRef(module, "BudgetError", budget_error);
}

static void raise_os_error(void) {
    // OSError picks its subclass (FileNotFoundError, ...) by errno.
    PyObject *arguments = Py_BuildValue("(iss)", (int)ec_last_errno(), ec_last_error(), ec_last_error_path());
    if (arguments == NULL) return;
    PyErr_SetObject(PyExc_OSError, arguments);
    Py_DECREF(arguments);
}

int core_check(ec_status status) {
    switch (status) {
    case EC_OK: return 0;
    case EC_INVALID_ARGUMENT: PyErr_SetString(PyExc_ValueError, ec_last_error()); break;
    case EC_INVALID_ID: PyErr_SetString(PyExc_IndexError, ec_last_error()); break;
    case EC_FORMAT: PyErr_SetString(format_error, ec_last_error()); break;
    case EC_BUDGET: PyErr_SetString(budget_error, ec_last_error()); break;
    case EC_IO: raise_os_error(); break;
    case EC_OUT_OF_MEMORY: PyErr_SetString(PyExc_MemoryError, ec_last_error()); break;
    case EC_CANCELLED:
        // A signal handler or the progress function has usually raised something already.
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_KeyboardInterrupt, "stopped by the progress function");
        break;
    default: PyErr_SetString(PyExc_RuntimeError, ec_last_error()); break;
    }
    return -1;
}
