// Functions that compress tables, in memory and straight into files.
#include "core.h"

// MARK: - Options that are arrays

/// Options beside those in JSON.
typedef struct ArrayOptions {
    int64_t count;
    ec_array *entries;
    Buffer *buffers;
    /// Of each array.
    int64_t *lengths;
} ArrayOptions;

static void array_options_release(ArrayOptions *options) {
    for (int64_t i = 0; options->buffers != NULL && i < options->count; i++) core_buffer_release(&options->buffers[i]);
    PyMem_Free(options->buffers);
    PyMem_Free(options->entries);
    PyMem_Free(options->lengths);
    *options = (ArrayOptions){0};
}

/// One of (name, float64 array).
static int take_array(PyObject *item, Buffer *buffer, int64_t *length, ec_array *array) {
    PyObject *name, *values;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UO", &name, &values)) {
        PyErr_SetString(PyExc_TypeError, "each array must be a tuple of name and values");
        return -1;
    }
    array->name = core_string(name, "the name of an option");
    if (array->name == NULL || core_buffer(values, array->name, ELEMENT_ANY, buffer) < 0) return -1;
    if (core_format_letter(buffer) != 'd') {
        PyErr_Format(PyExc_ValueError, "%s must be float64 in native byte order", array->name);
        return -1;
    }
    if (buffer->view.ndim != 1) {
        PyErr_Format(PyExc_ValueError, "%s must have one axis, not %d", array->name, buffer->view.ndim);
        return -1;
    }
    *length = buffer->view.shape[0];
    array->dtype = EC_F64;
    array->rank = 1;
    array->shape = length;
    array->data = buffer->view.buf;
    return 0;
}

/// From a tuple of (name, float64 array). What was taken is to be released on failure, too.
static int array_options_init(ArrayOptions *options, PyObject *tuple) {
    *options = (ArrayOptions){0};
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "arrays must be a tuple of (name, values)");
        return -1;
    }
    Py_ssize_t count = PyTuple_Size(tuple);
    options->entries = PyMem_Calloc((size_t)count + 1, sizeof *options->entries);
    options->buffers = PyMem_Calloc((size_t)count + 1, sizeof *options->buffers);
    options->lengths = PyMem_Calloc((size_t)count + 1, sizeof *options->lengths);
    if (options->entries == NULL || options->buffers == NULL || options->lengths == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    options->count = count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        if (take_array(item, &options->buffers[i], &options->lengths[i], &options->entries[i]) < 0) return -1;
    }
    return 0;
}

// MARK: - Compressing

static PyObject *compress(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "compress", 7, 7, {"source", "weights", "method", "options", "arrays", "counted_rows", "progress"}};
    PyObject *values[7], *result = NULL;
    ProgressContext context;
    ArrayOptions arrays;
    int64_t counted_rows = -1;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source");
    ec_table *weights = NULL;
    if (source == NULL || core_optional_table(values[1], "weights", &weights) < 0) return NULL;
    const char *method = core_string(values[2], "method");
    const char *options = method == NULL ? NULL : core_string(values[3], "options");
    if (options == NULL || core_optional_int64(values[5], "counted_rows", &counted_rows) < 0) return NULL;
    if (core_progress_init(&context, values[6]) < 0) return NULL;
    if (array_options_init(&arrays, values[4]) == 0) {
        ec_table *table;
        ec_status status;
        CORE_WITHOUT_GIL(
            &context,
            status = ec_table_compress(
                source, weights, method, options, arrays.entries, arrays.count, counted_rows, core_progress, &context,
                &table));
        if (core_check(status) == 0) result = core_table_wrap(table);
    }
    array_options_release(&arrays);
    return result;
}

// MARK: - Files

/// One job of compress_to_file(): (name, source, weights, options, arrays).
static int describe_job(PyObject *item, ec_job *job, ArrayOptions *arrays) {
    PyObject *name, *source, *weights, *options, *array_tuple;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UOOUO", &name, &source, &weights, &options, &array_tuple)) {
        PyErr_SetString(PyExc_TypeError, "each job must be a tuple of name, source, weights, options and arrays");
        return -1;
    }
    ec_table *table = NULL;
    job->name = core_string(name, "the name of a table");
    job->source = job->name == NULL ? NULL : core_table_handle(source, "source");
    if (job->source == NULL || core_optional_table(weights, "weights", &table) < 0) return -1;
    job->weights = table;
    job->options = core_string(options, "options");
    if (job->options == NULL || array_options_init(arrays, array_tuple) < 0) return -1;
    job->arrays = arrays->entries;
    job->array_count = arrays->count;
    return 0;
}

/// None for what is not known.
static PyObject *known_or_none(double value) { return value < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value); }

/// (stored bytes, quality, fallback share, share of coarse scales, loss with f16, loss with f32, choices) of each; None for
/// what is not known. Takes the choices.
static PyObject *report_list(ec_report *reports, Py_ssize_t total) {
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < total; i++) {
        PyObject *quality = core_quality(&reports[i].quality);
        PyObject *choices = reports[i].choices.bytes == NULL ? Py_NewRef(Py_None) : core_text(reports[i].choices);
        reports[i].choices = (ec_string){0};
        // Takes over the references, and fails if one of them is null.
        PyObject *entry = Py_BuildValue(
            "(LNNNNNN)", (long long)reports[i].stored_bytes, quality, known_or_none(reports[i].fallback_share),
            known_or_none(reports[i].coarse_scale_share), known_or_none(reports[i].f16_loss),
            known_or_none(reports[i].f32_loss), choices);
        if (entry == NULL || PyList_Append(list, entry) < 0) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *compress_to_file(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "compress_to_file", 6, 6, {"path", "jobs", "method", "row_alignment", "metadata", "progress"}};
    PyObject *values[6], *path = NULL, *result = NULL;
    ProgressContext context;
    int64_t row_alignment = 1;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *method = core_string(values[2], "method");
    const char *metadata = method == NULL ? NULL : core_string(values[4], "metadata");
    if (metadata == NULL || core_progress_init(&context, values[5]) < 0) return NULL;
    if (core_int64(values[3], "row_alignment", &row_alignment) < 0) return NULL;
    if (!PyTuple_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "jobs must be a tuple");
        return NULL;
    }
    Py_ssize_t total = PyTuple_Size(values[1]);
    ec_job *jobs = PyMem_Calloc((size_t)total + 1, sizeof *jobs);
    ArrayOptions *arrays = PyMem_Calloc((size_t)total + 1, sizeof *arrays);
    ec_report *reports = PyMem_Calloc((size_t)total + 1, sizeof *reports);
    if (jobs == NULL || arrays == NULL || reports == NULL) {
        PyErr_NoMemory();
        goto cleanup;
    }
    if (!PyUnicode_FSConverter(values[0], &path)) goto cleanup;
    for (Py_ssize_t i = 0; i < total; i++)
        if (describe_job(PyTuple_GetItem(values[1], i), &jobs[i], &arrays[i]) < 0) goto cleanup;
    const char *target = PyBytes_AsString(path);
    ec_status status;
    CORE_WITHOUT_GIL(
        &context,
        status = ec_compress_to_file(
            target, jobs, (int64_t)total, method, row_alignment, metadata, core_progress, &context, reports));
    if (core_check(status) == 0) result = report_list(reports, total);
cleanup:
    Py_XDECREF(path);
    for (Py_ssize_t i = 0; arrays != NULL && i < total; i++) array_options_release(&arrays[i]);
    for (Py_ssize_t i = 0; reports != NULL && i < total; i++) ec_string_release(reports[i].choices);
    PyMem_Free(jobs);
    PyMem_Free(arrays);
    PyMem_Free(reports);
    return result;
}

PyMethodDef core_compressing_methods[] = {
    {"compress", FAST(compress), "Compress a table by a method of the registry; arrays are (name, float64 array)."},
    {"compress_to_file", FAST(compress_to_file),
     "Compress a tuple of (name, source, weights, options, arrays) to a file."},
    {NULL, NULL, 0, NULL},
};
