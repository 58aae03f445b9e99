#include "core.h"

/// The exceptions, which the Python side defines.
static PyObject *format_error, *budget_error, *id_error;

static PyObject *error_type(PyObject *errors, PyObject *module, const char *name) {
    PyObject *type = PyObject_GetAttrString(errors, name);
    if (type == NULL || PyModule_AddObjectRef(module, name, type) < 0) return NULL;
    return type;
}

int core_errors_init(PyObject *module) {
    PyObject *errors = PyImport_ImportModule("embedcompress._errors");
    if (errors == NULL) return -1;
    format_error = error_type(errors, module, "FormatError");
    budget_error = error_type(errors, module, "BudgetError");
    id_error = error_type(errors, module, "InvalidIdError");
    Py_DECREF(errors);
    return format_error == NULL || budget_error == NULL || id_error == NULL ? -1 : 0;
}

/// Raises an exception with a message and fields; takes the reference to the fields.
static void raise_with(PyObject *type, const char *message, PyObject *fields) {
    PyObject *arguments = fields == NULL ? NULL : Py_BuildValue("(s)", message);
    PyObject *error = arguments == NULL ? NULL : PyObject_Call(type, arguments, fields);
    if (error != NULL) PyErr_SetObject(type, error);
    Py_XDECREF(error);
    Py_XDECREF(arguments);
    Py_XDECREF(fields);
}

/// The text, or None where there is none.
static PyObject *optional_text(const char *text) {
    if (*text != 0) return PyUnicode_FromString(text);
    Py_RETURN_NONE;
}

static PyObject *optional_number(int64_t number) {
    if (number >= 0) return PyLong_FromLongLong(number);
    Py_RETURN_NONE;
}

static void raise_os_error(const ec_error *error) {
    // OSError picks its subclass (FileNotFoundError, ...) by errno.
    PyObject *arguments = Py_BuildValue("(iss)", (int)error->system_errno, error->message, error->path);
    if (arguments == NULL) return;
    PyErr_SetObject(PyExc_OSError, arguments);
    Py_DECREF(arguments);
}

int core_check(ec_status status) {
    if (status == EC_OK) return 0;
    const ec_error *error = ec_last_error();
    switch (status) {
    case EC_INVALID_ARGUMENT: PyErr_SetString(PyExc_ValueError, error->message); break;
    case EC_INVALID_ID:
        raise_with(
            id_error, error->message,
            Py_BuildValue(
                "{sLsLsNsL}", "id", (long long)error->id, "position", (long long)error->position, "feature",
                optional_number(error->feature), "rows", (long long)error->rows));
        break;
    case EC_FORMAT:
        raise_with(
            format_error, error->message,
            Py_BuildValue("{sNss}", "path", optional_text(error->path), "rule", error->rule));
        break;
    case EC_BUDGET:
        raise_with(
            budget_error, error->message,
            Py_BuildValue(
                "{sssLsL}", "method", error->method, "budget", (long long)error->budget_bytes, "floor",
                (long long)error->floor_bytes));
        break;
    case EC_IO: raise_os_error(error); break;
    case EC_OUT_OF_MEMORY: PyErr_SetString(PyExc_MemoryError, error->message); break;
    case EC_CANCELLED:
        // A signal handler or the progress function has usually raised something already.
        if (PyErr_Occurred()) break;
        // What threads print as they end is not for a program's reader: they say nothing of this exception.
        if (core_is_kept_out()) PyErr_SetString(PyExc_SystemExit, "the interpreter ends");
        else PyErr_SetString(PyExc_KeyboardInterrupt, "stopped by the progress function");
        break;
    default: PyErr_SetString(PyExc_RuntimeError, error->message); break;
    }
    return -1;
}
