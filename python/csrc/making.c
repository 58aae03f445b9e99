// Functions that make tables and take them apart.
#include <stdlib.h>
#include <string.h>

#include "core.h"

/// dtype names as they cross to Python; in the order of ec_dtype.
static const char *const dtype_names[] = {
    "u8", "i8", "u16", "i16", "f16", "bf16", "u32", "i32", "f32", "u64", "i64", "f64", NULL};
static const int dtype_sizes[] = {1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8};

/// The struct letters of each; bf16 has none and travels as its 16 bits.
static const char *const dtype_letters[] = {"B", "b", "H", "h", "e", "H", "IL", "il", "f", "QL", "ql", "d"};
/// Axes of an array of a table.
enum { MAXIMUM_RANK = 8 };

static int check_dtype(const Buffer *buffer, const char *name, int dtype) {
    char letter = core_format_letter(buffer);
    if (letter != 0 && strchr(dtype_letters[dtype], letter) != NULL && buffer->view.itemsize == dtype_sizes[dtype])
        return 0;
    PyErr_Format(
        PyExc_ValueError, "%s must hold %s elements in native byte order, not '%s'", name, dtype_names[dtype],
        buffer->view.format == NULL ? "B" : buffer->view.format);
    return -1;
}

// MARK: - Lending memory to Swift

/// Buffers that a table stands on; released when Swift says that the last table is gone.
typedef struct Loan {
    int64_t count;
    Buffer buffers[];
} Loan;

static Loan *loan_new(int64_t count) {
    Loan *loan = calloc(1, sizeof(Loan) + (size_t)count * sizeof(Buffer));
    if (loan == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    loan->count = count;
    return loan;
}

static void loan_free(Loan *loan) {
    for (int64_t i = 0; i < loan->count; i++) core_buffer_release(&loan->buffers[i]);
    free(loan);
}

static void loan_release(void *context) {
    // Called by whichever thread drops the last reference, with or without the GIL.
    PyGILState_STATE state = PyGILState_Ensure();
    loan_free(context);
    PyGILState_Release(state);
}

// MARK: - Making

static PyObject *dense(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"dense", 2, 2, {"values", "dtype"}};
    PyObject *values[2];
    int dtype = EC_F32;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (core_choice(values[1], "dtype", dtype_names, &dtype) < 0) return NULL;
    Loan *loan = loan_new(1);
    if (loan == NULL) return NULL;
    const Py_buffer *view = &loan->buffers[0].view;
    if (core_buffer(values[0], "weight", ELEMENT_ANY, &loan->buffers[0]) < 0) goto failed;
    if (view->ndim != 2) {
        PyErr_Format(PyExc_ValueError, "weight must have two axes, rows and columns, not %d", view->ndim);
        goto failed;
    }
    if (check_dtype(&loan->buffers[0], "weight", dtype) < 0) goto failed;
    ec_table *table;
    ec_status status =
        ec_table_dense(view->buf, (ec_dtype)dtype, view->shape[0], view->shape[1], loan_release, loan, &table);
    if (core_check(status) < 0) goto failed;
    return core_table_wrap(table);
failed:
    loan_free(loan);
    return NULL;
}

static PyObject *compress(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"compress", 5, 5, {"source", "weights", "method", "options", "progress"}};
    PyObject *values[5];
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source");
    ec_table *weights = NULL;
    if (source == NULL || core_optional_table(values[1], "weights", &weights) < 0) return NULL;
    const char *method = core_string(values[2], "method");
    const char *options = method == NULL ? NULL : core_string(values[3], "options");
    if (options == NULL || core_progress_init(&context, values[4]) < 0) return NULL;
    ec_table *table;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_table_compress(source, weights, method, options, core_progress, &context, &table));
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
}

/// One array of assemble(): (name, dtype, values).
static int describe_array(PyObject *item, Buffer *buffer, int64_t *shape, ec_array *array) {
    PyObject *name, *dtype, *values;
    int type = 0;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UUO", &name, &dtype, &values)) {
        PyErr_SetString(PyExc_TypeError, "each array must be a tuple of name, dtype and values");
        return -1;
    }
    array->name = core_string(name, "the name of an array");
    if (array->name == NULL || core_choice(dtype, "dtype", dtype_names, &type) < 0) return -1;
    if (core_buffer(values, array->name, ELEMENT_ANY, buffer) < 0) return -1;
    if (check_dtype(buffer, array->name, type) < 0) return -1;
    if (buffer->view.ndim > MAXIMUM_RANK) {
        PyErr_Format(PyExc_ValueError, "array '%s' has more than %d axes", array->name, MAXIMUM_RANK);
        return -1;
    }
    for (int i = 0; i < buffer->view.ndim; i++) shape[i] = buffer->view.shape[i];
    array->dtype = (ec_dtype)type;
    array->rank = buffer->view.ndim;
    array->shape = shape;
    array->data = buffer->view.buf;
    return 0;
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
    Loan *loan = loan_new(total);
    ec_array *arrays = PyMem_Calloc((size_t)total + 1, sizeof *arrays);
    int64_t *shapes = PyMem_Calloc((size_t)total + 1, MAXIMUM_RANK * sizeof *shapes);
    if (loan == NULL || arrays == NULL || shapes == NULL) {
        PyErr_NoMemory();
        goto cleanup;
    }
    for (int64_t i = 0; i < total; i++) {
        PyObject *item = PyTuple_GetItem(values[1], (Py_ssize_t)i);
        if (describe_array(item, &loan->buffers[i], shapes + MAXIMUM_RANK * i, &arrays[i]) < 0) goto cleanup;
    }
    ec_table *table;
    if (core_check(ec_table_assemble(tree, arrays, total, loan_release, loan, &table)) < 0) goto cleanup;
    loan = NULL; // Swift has it now
    result = core_table_wrap(table);
cleanup:
    if (loan != NULL) loan_free(loan);
    PyMem_Free(arrays);
    PyMem_Free(shapes);
    return result;
}

static PyObject *remap(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"remap", 5, 2, {"inner", "rows", "modulo", "divisor", "hash"}};
    PyObject *values[5];
    int64_t rows = 0, number = 0;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *inner = core_table_handle(values[0], "inner"), *table;
    if (inner == NULL || core_int64(values[1], "rows", &rows) < 0) return NULL;
    int function = 2;
    while (function < 4 && (values[function] == NULL || values[function] == Py_None)) function++;
    if (core_int64(values[function], parameters.names[function], &number) < 0) return NULL;
    ec_status status = function == 2   ? ec_table_remap_modulo(inner, rows, number, &table)
                       : function == 3 ? ec_table_remap_quotient(inner, rows, number, &table)
                                       : ec_table_remap_hash(inner, rows, number, &table);
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
}

static PyObject *remap_array(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"remap_array", 4, 4, {"inner", "map", "rows", "block_rows"}};
    PyObject *values[4];
    int64_t rows = 0, block_rows = 0;
    Buffer map;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *inner = core_table_handle(values[0], "inner"), *table;
    if (inner == NULL || core_int64(values[2], "rows", &rows) < 0) return NULL;
    if (core_int64(values[3], "block_rows", &block_rows) < 0) return NULL;
    if (core_buffer(values[1], "map", ELEMENT_ID, &map) < 0) return NULL;
    if (map.view.itemsize != 8 || map.view.ndim != 1) {
        PyErr_SetString(PyExc_ValueError, "map must be int64 and have one axis");
        core_buffer_release(&map);
        return NULL;
    }
    ec_status status = ec_table_remap_array(
        inner, map.view.buf, core_buffer_count(&map), rows, block_rows, &table);
    core_buffer_release(&map);
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
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

static PyObject *array_entry(PyObject *table, const ec_array *array) {
    ArrayObject *memory = (ArrayObject *)((allocfunc)PyType_GetSlot(array_type, Py_tp_alloc))(array_type, 0);
    if (memory == NULL) return NULL;
    Py_INCREF(table);
    memory->table = table;
    memory->data = array->data;
    memory->count = dtype_sizes[array->dtype];
    PyObject *shape = PyTuple_New(array->rank);
    for (int i = 0; shape != NULL && i < array->rank; i++) {
        memory->count *= (Py_ssize_t)array->shape[i];
        PyObject *size = PyLong_FromLongLong(array->shape[i]);
        if (size == NULL || PyTuple_SetItem(shape, i, size) < 0) Py_CLEAR(shape);
    }
    if (shape == NULL) {
        Py_DECREF(memory);
        return NULL;
    }
    return Py_BuildValue("(ssNN)", array->name, dtype_names[array->dtype], shape, memory);
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

static PyObject *evaluate(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"evaluate", 3, 3, {"table", "source", "progress"}};
    PyObject *values[3];
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    ec_table *source = table == NULL ? NULL : core_table_handle(values[1], "source");
    if (source == NULL || core_progress_init(&context, values[2]) < 0) return NULL;
    ec_quality quality;
    ec_status status;
    CORE_WITHOUT_GIL(&context, status = ec_table_evaluate(table, source, core_progress, &context, &quality));
    if (core_check(status) < 0) return NULL;
    return core_quality(&quality);
}

PyObject *core_quality(const ec_quality *quality) {
    return Py_BuildValue(
        "(dddLd)", quality->normalized_l2, quality->mean_cosine, quality->worst_row_l2, (long long)quality->worst_row,
        quality->mean_squared_error);
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
    {"compress", FAST(compress), "A table compressed by a method of the registry; options are JSON."},
    {"assemble", FAST(assemble), "A table of a tree (JSON) and a tuple of (name, dtype, values)."},
    {"remap", FAST(remap), "rows ids over a table: id % modulo, id // divisor, or hashed with a seed."},
    {"remap_array", FAST(remap_array),
     "rows ids over a table: map[id // block_rows] * block_rows + id % block_rows, -1 for zeros."},
    {"aligned", FAST(aligned), "A table with its rows at multiples of so many bytes."},
    {"row_layouts", row_layouts, METH_O, "Where the rows of a table lie among cache lines, as JSON."},
    {"tree", tree, METH_O, "The tree of a table as JSON."},
    {"arrays", arrays, METH_O, "The arrays of a table as (name, dtype, shape, memory)."},
    {"lookup_tensor", FAST(core_lookup_tensor), "What the lookup of a table does, from a tensor to a tensor."},
    {"touch", FAST(core_touch), "Reads a byte of every cache line of the rows of ids; their sum."},
    {"evaluate", FAST(evaluate), "normalized l2, mean cosine, worst row's l2, worst row, mean squared error."},
    {"methods", methods, METH_NOARGS, "The registry as JSON."},
    {"version", version, METH_NOARGS, "The version of the core."},
    {"isa", isa, METH_NOARGS, "The instruction set that the core was compiled for."},
    {"set_num_threads", set_num_threads, METH_O, "Set the most threads that one call uses."},
    {"get_num_threads", get_num_threads, METH_NOARGS, "The most threads that one call uses."},
    {"has_values", FAST(has_values), "Whether the values of a dict are the very objects of a tuple, in its order."},
    {"set_array_hook", core_set_array_hook, METH_O, "Set the function that makes arrays of what has no buffer."},
    {"set_tensor_type", core_set_tensor_type, METH_O,
     "Set the type of tensors; False if it does not offer DLPack's C exchange API."},
    {"set_table_type", core_set_table_type, METH_O, "Set the subclass of Table that functions return."},
    {NULL, NULL, 0, NULL},
};
