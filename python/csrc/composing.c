// Tables that are put together by hand, and the bytes of those that are only described.
#include "core.h"

static PyObject *compose(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"compose", 4, 4, {"kind", "fields", "arrays", "children"}};
    PyObject *values[4], *name, *array, *result = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *kind = core_string(values[0], "kind");
    const char *fields = kind == NULL ? NULL : core_string(values[1], "fields");
    if (fields == NULL) return NULL;
    if (!PyDict_Check(values[2]) || !PyTuple_Check(values[3])) {
        PyErr_SetString(PyExc_TypeError, "arrays must be a dict, and children a tuple");
        return NULL;
    }
    // What is lent outlives this call; the dict of its names need not, which Swift copies.
    PyObject *arrays = PyDict_Copy(values[2]);
    if (arrays == NULL) return NULL;
    int64_t total = PyDict_Size(arrays), child_count = PyTuple_Size(values[3]);
    Loan *loan = core_loan_new(total);
    const ec_table **children = PyMem_Calloc((size_t)child_count + 1, sizeof *children);
    if (loan == NULL || children == NULL) {
        if (!PyErr_Occurred()) PyErr_NoMemory();
        goto cleanup;
    }
    for (int64_t i = 0; i < child_count; i++) {
        children[i] = core_table_handle(PyTuple_GetItem(values[3], (Py_ssize_t)i), "a child");
        if (children[i] == NULL) goto cleanup;
    }
    Py_ssize_t place = 0;
    for (int64_t i = 0; PyDict_Next(arrays, &place, &name, &array); i++)
        if (core_loan_add(loan, i, name, NULL, array) < 0) goto cleanup;
    ec_table *table;
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_table_compose(
        kind, fields, loan->arrays, total, children, child_count, core_loan_release, loan, &table);
    PyEval_RestoreThread(saved);
    if (core_check(status) < 0) goto cleanup;
    loan = NULL; // Swift has it now, or has given it back
    result = core_table_wrap(table);
cleanup:
    core_loan_free(loan);
    PyMem_Free(children);
    Py_DECREF(arrays);
    return result;
}

static PyObject *plan_bytes(PyObject *module, PyObject *argument) {
    (void)module;
    const char *tree = core_string(argument, "tree");
    int64_t bytes = 0;
    return tree == NULL || core_check(ec_plan_bytes(tree, &bytes)) < 0 ? NULL : PyLong_FromLongLong(bytes);
}

PyMethodDef core_composing_methods[] = {
    {"compose", FAST(compose),
     "A table whose root is a store or route: kind, fields (JSON), arrays (name to array), inner tables."},
    {"plan_bytes", plan_bytes, METH_O, "The bytes of a table that a tree (JSON) describes."},
    {"is_read_only", core_is_read_only, METH_O, "Whether memory lies in an array that a table has for reading only."},
    {"dtypes", core_dtypes, METH_NOARGS, "The element types by name, with what NumPy calls what carries them."},
    {NULL, NULL, 0, NULL},
};
