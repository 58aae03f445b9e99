#include "core.h"

/// There is one set of types, and of threads, for the whole process.
static int check_interpreter(void) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0) return 0;
    PyErr_SetString(
        PyExc_ImportError, "embedcompress can't be used in subinterpreters: use threads or processes instead");
    return -1;
}

/// For the loader: what one interpreter has loaded, another gets without PyInit__core.
static PyObject *check(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return check_interpreter() < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    {"check_interpreter", check, METH_NOARGS, "ImportError in a subinterpreter."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "embedcompress._core",
    .m_doc = "The compiled core of embedcompress.",
    .m_methods = functions,
    .m_size = -1,
};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__core(void) {
    if (check_interpreter() < 0) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (core_ending_init() < 0 || core_errors_init(module) < 0 || core_buffers_init() < 0 || core_table_init(module) < 0
        || core_making_init(module) < 0 || PyModule_AddFunctions(module, core_making_methods) < 0
        || PyModule_AddFunctions(module, core_composing_methods) < 0
        || PyModule_AddFunctions(module, core_compressing_methods) < 0
        || PyModule_AddFunctions(module, core_bags_methods) < 0
        || PyModule_AddFunctions(module, core_filling_methods) < 0
        || PyModule_AddFunctions(module, core_files_methods) < 0
        || PyModule_AddFunctions(module, core_quality_methods) < 0
        || PyModule_AddFunctions(module, core_fused_methods) < 0
        || PyModule_AddFunctions(module, core_groups_methods) < 0
        || PyModule_AddFunctions(module, core_training_methods) < 0
        || PyModule_AddFunctions(module, core_learning_methods) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
