// Functions that quantize matrices in groups that share a scale and a bias.
#include "core.h"

/// (kind, groups, block or None, bits, scale dtype).
static int take_groups(PyObject *object, ec_groups *groups) {
    PyObject *kind, *count, *block, *bits, *scale_dtype;
    if (!PyTuple_Check(object)
        || !PyArg_ParseTuple(object, "UOOOU", &kind, &count, &block, &bits, &scale_dtype)) {
        PyErr_SetString(PyExc_TypeError, "groups must be a tuple of kind, groups, block, bits and scale_dtype");
        return -1;
    }
    *groups = (ec_groups){0};
    groups->kind = core_string(kind, "group");
    groups->scale_dtype = core_string(scale_dtype, "scale_dtype");
    if (groups->kind == NULL || groups->scale_dtype == NULL) return -1;
    if (core_int64(count, "groups", &groups->groups) < 0 || core_int64(bits, "bits", &groups->bits) < 0) return -1;
    if (block == Py_None) return 0;
    if (core_int64(block, "block", &groups->block) < 0) return -1;
    // 0 is C's way to say None.
    if (groups->block == 0) groups->block = -1;
    return 0;
}

static PyObject *group_shape(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"group_shape", 3, 3, {"groups", "rows", "columns"}};
    PyObject *values[3];
    ec_groups groups;
    int64_t rows = 0, columns = 0, group_rows, group_columns, total;
    if (core_bind(&parameters, args, count, keywords, values) < 0 || take_groups(values[0], &groups) < 0) return NULL;
    if (core_int64(values[1], "rows", &rows) < 0 || core_int64(values[2], "columns", &columns) < 0) return NULL;
    if (core_check(ec_group_shape(&groups, rows, columns, &group_rows, &group_columns, &total)) < 0) return NULL;
    return Py_BuildValue("(LLL)", (long long)group_rows, (long long)group_columns, (long long)total);
}

static PyObject *group_bytes(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"group_bytes", 3, 3, {"groups", "rows", "columns"}};
    PyObject *values[3];
    ec_groups groups;
    int64_t rows = 0, columns = 0, bytes;
    if (core_bind(&parameters, args, count, keywords, values) < 0 || take_groups(values[0], &groups) < 0) return NULL;
    if (core_int64(values[1], "rows", &rows) < 0 || core_int64(values[2], "columns", &columns) < 0) return NULL;
    if (core_check(ec_group_bytes(&groups, rows, columns, &bytes)) < 0) return NULL;
    return PyLong_FromLongLong(bytes);
}

/// Raises ValueError unless both have a number for each group of the source.
static int check_counts(const ec_table *source, const ec_groups *groups, const Buffer *scales, const Buffer *biases) {
    int64_t group_rows, group_columns, total;
    ec_status status = ec_group_shape(
        groups, ec_table_rows(source), ec_table_dimension(source), &group_rows, &group_columns, &total);
    if (core_check(status) < 0) return -1;
    if (core_buffer_count(scales) == total && core_buffer_count(biases) == total) return 0;
    PyErr_Format(PyExc_ValueError, "there must be a scale and a bias for each of %lld groups", (long long)total);
    return -1;
}

static PyObject *group_ranges(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"group_ranges", 5, 5, {"source", "groups", "ranges", "scales", "biases"}};
    PyObject *values[5], *result = NULL;
    ec_groups groups;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source");
    if (source == NULL || take_groups(values[1], &groups) < 0) return NULL;
    const char *ranges = core_string(values[2], "ranges");
    if (ranges == NULL || core_progress_init(&context, Py_None) < 0) return NULL;
    Buffer scales = {0}, biases = {0};
    if (core_output(values[3], "scales", ELEMENT_FLOAT32, &scales) < 0) goto done;
    if (core_output(values[4], "biases", ELEMENT_FLOAT32, &biases) < 0) goto done;
    if (check_counts(source, &groups, &scales, &biases) < 0) goto done;
    if (core_check_overlap(&scales, "scales", &biases, "biases") < 0) goto done;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_group_ranges(
                      source, &groups, ranges, core_progress, &context, scales.view.buf, biases.view.buf));
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    core_buffer_release(&scales);
    core_buffer_release(&biases);
    return result;
}

static PyObject *group_encode(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"group_encode", 4, 4, {"source", "groups", "scales", "biases"}};
    PyObject *values[4], *result = NULL;
    ec_groups groups;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source"), *table;
    if (source == NULL || take_groups(values[1], &groups) < 0) return NULL;
    if (core_progress_init(&context, Py_None) < 0) return NULL;
    Buffer scales = {0}, biases = {0};
    if (core_buffer(values[2], "scales", ELEMENT_FLOAT32, &scales) < 0) goto done;
    if (core_buffer(values[3], "biases", ELEMENT_FLOAT32, &biases) < 0) goto done;
    if (check_counts(source, &groups, &scales, &biases) < 0) goto done;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context,
        status = ec_group_encode(
            source, &groups, scales.view.buf, biases.view.buf, core_buffer_count(&scales), core_progress, &context,
            &table));
    if (core_check(status) == 0) result = core_table_wrap(table);
done:
    core_buffer_release(&scales);
    core_buffer_release(&biases);
    return result;
}

static PyObject *group_quantize(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"group_quantize", 3, 3, {"source", "groups", "ranges"}};
    PyObject *values[3];
    ec_groups groups;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source"), *table;
    if (source == NULL || take_groups(values[1], &groups) < 0) return NULL;
    const char *ranges = core_string(values[2], "ranges");
    if (ranges == NULL || core_progress_init(&context, Py_None) < 0) return NULL;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_group_quantize(source, &groups, ranges, core_progress, &context, &table));
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
}

PyMethodDef core_groups_methods[] = {
    {"group_shape", FAST(group_shape), "Rows and columns of a group of a matrix, and how many there are."},
    {"group_bytes", FAST(group_bytes), "The bytes that a matrix takes in groups."},
    {"group_ranges", FAST(group_ranges), "The scale and the bias of each group, into two arrays."},
    {"group_encode", FAST(group_encode), "A table of the codes nearest to a source under given scales and biases."},
    {"group_quantize", FAST(group_quantize), "A table of a source quantized in groups."},
    {NULL, NULL, 0, NULL},
};
