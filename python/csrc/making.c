// Functions that make tables and take them apart.
#include "core.h"

// MARK: - Making

static PyObject *dense(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"dense", 2, 2, {"values", "dtype"}};
    PyObject *values[2];
    ec_dtype dtype = EC_F32;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (core_dtype(values[1], "dtype", &dtype) < 0) return NULL;
    Loan *loan = core_loan_new(1);
    if (loan == NULL) return NULL;
    Buffer *buffer = &loan->lent[0].buffer;
    const Py_buffer *view = &buffer->view;
    if (core_buffer(values[0], "weight", ELEMENT_ANY, buffer) < 0) goto failed;
    if (view->ndim != 2) {
        PyErr_Format(PyExc_ValueError, "weight must have two axes, rows and columns, not %d", view->ndim);
        goto failed;
    }
    if (core_check_dtype(buffer, "weight", dtype) < 0) goto failed;
    ec_table *table;
    ec_status status =
        ec_table_dense(view->buf, dtype, view->shape[0], view->shape[1], core_loan_release, loan, &table);
    if (core_check(status) < 0) goto failed;
    return core_table_wrap(table);
failed:
    core_loan_free(loan);
    return NULL;
}

static PyObject *assemble(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"assemble", 2, 2, {"tree", "arrays"}};
    PyObject *values[2], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *tree = core_string(values[0], "tree");
    if (tree == NULL) return NULL;
    if (!PyTuple_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "arrays must be a tuple");
        return NULL;
    }
    int64_t total = PyTuple_Size(values[1]);
    Loan *loan = core_loan_new(total);
    if (loan == NULL) return NULL;
    for (int64_t i = 0; i < total; i++) {
        PyObject *item = PyTuple_GetItem(values[1], (Py_ssize_t)i), *name, *dtype, *array;
        if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UUO", &name, &dtype, &array)) {
            PyErr_SetString(PyExc_TypeError, "each array must be a tuple of name, dtype and values");
            goto cleanup;
        }
        if (core_loan_add(loan, i, name, dtype, array) < 0) goto cleanup;
    }
    ec_table *table;
    if (core_check(ec_table_assemble(tree, loan->arrays, total, core_loan_release, loan, &table)) < 0) goto cleanup;
    loan = NULL; // Swift has it now
    result = core_table_wrap(table);
cleanup:
    core_loan_free(loan);
    return result;
}

// MARK: - Taking apart

static PyObject *tree(PyObject *module, PyObject *argument) {
    (void)module;
    ec_string text;
    ec_table *table = core_table_handle(argument, "table");
    if (table == NULL || core_check(ec_table_tree(table, &text)) < 0) return NULL;
    return core_text(text);
}

/// The memory of one array of a table, for numpy.frombuffer; keeps the table.
typedef struct ArrayObject {
    PyObject_HEAD
    PyObject *table;
    const void *data;
    Py_ssize_t count;
} ArrayObject;

static PyTypeObject *array_type;

static int array_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    ArrayObject *array = (ArrayObject *)self;
    return PyBuffer_FillInfo(view, self, (void *)array->data, array->count, 1, flags);
}

static void array_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((ArrayObject *)self)->table);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyType_Slot array_slots[] = {
    {Py_tp_dealloc, array_dealloc},
    {Py_bf_getbuffer, array_getbuffer},
    {Py_tp_doc, "The memory of one array of a table, read-only."},
    {0, NULL},
};
static PyType_Spec array_spec = {
    .name = "embedcompress._core.Array",
    .basicsize = sizeof(ArrayObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = array_slots,
};

int core_making_init(PyObject *module) {
    array_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &array_spec, NULL);
    return array_type == NULL ? -1 : 0;
}

PyObject *core_table_memory(PyObject *table, const void *data, Py_ssize_t count) {
    ArrayObject *memory = (ArrayObject *)((allocfunc)PyType_GetSlot(array_type, Py_tp_alloc))(array_type, 0);
    if (memory == NULL) return NULL;
    memory->table = Py_NewRef(table);
    memory->data = data;
    memory->count = count;
    return (PyObject *)memory;
}

static PyObject *array_entry(PyObject *table, const ec_array *array) {
    Py_ssize_t count = core_dtype_size(array->dtype);
    PyObject *shape = PyTuple_New(array->rank);
    for (int i = 0; shape != NULL && i < array->rank; i++) {
        count *= (Py_ssize_t)array->shape[i];
        PyObject *size = PyLong_FromLongLong(array->shape[i]);
        if (size == NULL || PyTuple_SetItem(shape, i, size) < 0) Py_CLEAR(shape);
    }
    PyObject *memory = shape == NULL ? NULL : core_table_memory(table, array->data, count);
    if (memory == NULL) {
        Py_XDECREF(shape);
        return NULL;
    }
    return Py_BuildValue("(ssNN)", array->name, core_dtype_name(array->dtype), shape, memory);
}

static PyObject *arrays(PyObject *module, PyObject *argument) {
    (void)module;
    ec_table *table = core_table_handle(argument, "table");
    if (table == NULL) return NULL;
    int64_t total = ec_table_array_count(table);
    PyObject *list = PyList_New(0);
    for (int64_t i = 0; list != NULL && i < total; i++) {
        ec_array array;
        PyObject *entry = core_check(ec_table_array(table, i, &array)) < 0 ? NULL : array_entry(argument, &array);
        if (entry == NULL || PyList_Append(list, entry) < 0) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *aligned(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"aligned", 3, 3, {"table", "row_alignment", "progress"}};
    PyObject *values[3];
    int64_t row_alignment = 1;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    if (table == NULL || core_int64(values[1], "row_alignment", &row_alignment) < 0) return NULL;
    if (core_progress_init(&context, values[2]) < 0) return NULL;
    ec_table *result;
    ec_status status;
    CORE_WITHOUT_GIL(&context, status = ec_table_align(table, row_alignment, core_progress, &context, &result));
    return core_check(status) < 0 ? NULL : core_table_wrap(result);
}

static PyObject *row_layouts(PyObject *module, PyObject *argument) {
    (void)module;
    ec_table *table = core_table_handle(argument, "table");
    ec_string text;
    return table == NULL || core_check(ec_table_row_layouts(table, &text)) < 0 ? NULL : core_text(text);
}

// MARK: - Library

static PyObject *methods(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    ec_string text;
    return core_check(ec_methods(&text)) < 0 ? NULL : core_text(text);
}

static PyObject *method_name(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"method_name", 2, 2, {"method", "stage"}};
    PyObject *values[2];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *method = core_string(values[0], "method");
    const char *stage = method == NULL ? NULL : core_string(values[1], "stage");
    ec_string text;
    return stage == NULL || core_check(ec_method_name(method, stage, &text)) < 0 ? NULL : core_text(text);
}

static PyObject *method_options(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"method_options", 3, 3, {"method", "stage", "options"}};
    PyObject *values[3];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *method = core_string(values[0], "method");
    const char *stage = method == NULL ? NULL : core_string(values[1], "stage");
    const char *options = stage == NULL ? NULL : core_string(values[2], "options");
    ec_string text;
    return options == NULL || core_check(ec_method_options(method, stage, options, &text)) < 0 ? NULL : core_text(text);
}

static PyObject *method_register(PyObject *module, PyObject *argument) {
    (void)module;
    const char *entry = core_string(argument, "entry");
    if (entry == NULL || core_check(ec_method_register(entry)) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *version(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyUnicode_FromString(ec_version());
}

static PyObject *isa(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyUnicode_FromString(ec_isa());
}

static PyObject *set_num_threads(PyObject *module, PyObject *argument) {
    (void)module;
    int64_t count = 0;
    if (core_int64(argument, "n", &count) < 0 || core_check(ec_set_num_threads(count)) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *get_num_threads(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyLong_FromLongLong(ec_get_num_threads());
}

static PyObject *refuse_allocation(PyObject *module, PyObject *count) {
    (void)module;
    long long number = PyLong_AsLongLong(count);
    if (number == -1 && PyErr_Occurred()) return NULL;
    return PyLong_FromLongLong(ec_refuse_allocation(number));
}

static PyObject *has_values(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"has_values", 2, 2, {"dict", "values"}};
    PyObject *values[2], *key, *value;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (!PyDict_Check(values[0]) || !PyTuple_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "has_values() takes a dict and a tuple");
        return NULL;
    }
    Py_ssize_t place = 0, index = 0, expected = PyTuple_Size(values[1]);
    while (PyDict_Next(values[0], &place, &key, &value))
        if (index == expected || PyTuple_GetItem(values[1], index++) != value) Py_RETURN_FALSE;
    return PyBool_FromLong(index == expected);
}

PyMethodDef core_making_methods[] = {
    {"dense", FAST(dense), "A dense table on the memory of a two-dimensional array."},
    {"assemble", FAST(assemble), "A table of a tree (JSON) and a tuple of (name, dtype, values)."},
    {"aligned", FAST(aligned), "A table with its rows at multiples of so many bytes."},
    {"row_layouts", row_layouts, METH_O, "Where the rows of a table lie among cache lines, as JSON."},
    {"tree", tree, METH_O, "The tree of a table as JSON."},
    {"arrays", arrays, METH_O, "The arrays of a table as (name, dtype, shape, memory)."},
    {"lookup_tensor", FAST(core_lookup_tensor), "What the lookup of a table does, from a tensor to a tensor."},
    {"multiply", FAST(core_multiply), "Fills an array with the products of rows of a table with vectors."},
    {"touch", FAST(core_touch), "Reads a byte of every cache line of the rows of ids; their sum."},
    {"methods", methods, METH_NOARGS, "The catalogue as JSON."},
    {"method_name", FAST(method_name), "The name of a method of a stage, of any spelling."},
    {"method_options", FAST(method_options), "The values of all options of a method as JSON, checked."},
    {"method_register", method_register, METH_O, "Add a method that is trained to the catalogue."},
    {"version", version, METH_NOARGS, "The version of the core."},
    {"isa", isa, METH_NOARGS, "The instruction set that the core was compiled for."},
    {"set_num_threads", set_num_threads, METH_O, "Set the most threads that one call uses."},
    {"get_num_threads", get_num_threads, METH_NOARGS, "The most threads that one call uses."},
    {"refuse_allocation", refuse_allocation, METH_O,
     "Makes the core's allocation after the next count fail, once; for tests. Returns how many were still to succeed."},
    {"has_values", FAST(has_values), "Whether the values of a dict are the very objects of a tuple, in its order."},
    {"set_array_hook", core_set_array_hook, METH_O, "Set the function that makes arrays of what can't be read as it lies."},
    {"set_tensor_type", core_set_tensor_type, METH_O,
     "Set the type of tensors; False if it does not offer DLPack's C exchange API."},
    {"set_table_type", core_set_table_type, METH_O, "Set the subclass of Table that functions return."},
    {NULL, NULL, 0, NULL},
};
