#include "core.h"


static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "embedcompress._core",
    .m_doc = "The compiled core of embedcompress.",
    .m_size = -1,
};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__core(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (core_errors_init(module) < 0 || core_buffers_init() < 0 || core_table_init(module) < 0
        || core_making_init(module) < 0 || PyModule_AddFunctions(module, core_making_methods) < 0
        || PyModule_AddFunctions(module, core_bags_methods) < 0
        || PyModule_AddFunctions(module, core_filling_methods) < 0
        || PyModule_AddFunctions(module, core_files_methods) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
