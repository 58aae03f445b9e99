// Functions that read and write files.
#include "core.h"

static PyObject *save(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"save", 4, 4, {"path", "tables", "metadata", "progress"}};
    PyObject *values[4], *path = NULL, *result = NULL;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *metadata = core_string(values[2], "metadata");
    if (metadata == NULL || core_progress_init(&context, values[3]) < 0) return NULL;
    if (!PyTuple_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "tables must be a tuple of (name, table)");
        return NULL;
    }
    Py_ssize_t total = PyTuple_Size(values[1]);
    const ec_table **tables = PyMem_Calloc((size_t)total + 1, sizeof *tables);
    const char **names = PyMem_Calloc((size_t)total + 1, sizeof *names);
    if (tables == NULL || names == NULL) {
        PyErr_NoMemory();
        goto cleanup;
    }
    if (!PyUnicode_FSConverter(values[0], &path)) goto cleanup;
    for (Py_ssize_t i = 0; i < total; i++) {
        PyObject *item = PyTuple_GetItem(values[1], i), *name, *table;
        if (!PyArg_ParseTuple(item, "UO", &name, &table)) goto cleanup;
        names[i] = core_string(name, "the name of a table");
        tables[i] = core_table_handle(table, "table");
        if (names[i] == NULL || tables[i] == NULL) goto cleanup;
    }
    const char *target = PyBytes_AsString(path);
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_save(target, tables, names, (int64_t)total, metadata, core_progress, &context));
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
cleanup:
    Py_XDECREF(path);
    PyMem_Free(tables);
    PyMem_Free(names);
    return result;
}

static PyObject *load(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"load", 3, 3, {"path", "name", "mmap"}};
    PyObject *values[3], *path = NULL;
    const char *name = NULL;
    int32_t map = 1;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (values[1] != Py_None && (name = core_string(values[1], "name")) == NULL) return NULL;
    if (core_bool(values[2], "mmap", &map) < 0 || !PyUnicode_FSConverter(values[0], &path)) return NULL;
    const char *source = PyBytes_AsString(path);
    ec_table *table;
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_load(source, name, map, &table);
    PyEval_RestoreThread(saved);
    Py_DECREF(path);
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
}

static PyObject *file_contents(PyObject *module, PyObject *argument) {
    (void)module;
    PyObject *path;
    ec_string text;
    if (!PyUnicode_FSConverter(argument, &path)) return NULL;
    ec_status status = ec_file_contents(PyBytes_AsString(path), &text);
    Py_DECREF(path);
    return core_check(status) < 0 ? NULL : core_text(text);
}

/// One job of compress_to_file(): (name, source, weights, options).
static int describe_job(PyObject *item, ec_job *job) {
    PyObject *name, *source, *weights, *options;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UOOU", &name, &source, &weights, &options)) {
        PyErr_SetString(PyExc_TypeError, "each job must be a tuple of name, source, weights and options");
        return -1;
    }
    ec_table *table = NULL;
    job->name = core_string(name, "the name of a table");
    job->source = job->name == NULL ? NULL : core_table_handle(source, "source");
    if (job->source == NULL || core_optional_table(weights, "weights", &table) < 0) return -1;
    job->weights = table;
    job->options = core_string(options, "options");
    return job->options == NULL ? -1 : 0;
}

/// (stored bytes, quality, fallback share or None) of each.
static PyObject *report_list(const ec_report *reports, Py_ssize_t total) {
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < total; i++) {
        PyObject *quality = core_quality(&reports[i].quality);
        PyObject *share = reports[i].fallback_share < 0 ? Py_NewRef(Py_None)
                                                        : PyFloat_FromDouble(reports[i].fallback_share);
        PyObject *entry = quality == NULL || share == NULL
                              ? NULL
                              : Py_BuildValue("(LOO)", (long long)reports[i].stored_bytes, quality, share);
        if (entry == NULL || PyList_Append(list, entry) < 0) Py_CLEAR(list);
        Py_XDECREF(entry);
        Py_XDECREF(share);
        Py_XDECREF(quality);
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
    ec_report *reports = PyMem_Calloc((size_t)total + 1, sizeof *reports);
    if (jobs == NULL || reports == NULL) {
        PyErr_NoMemory();
        goto cleanup;
    }
    if (!PyUnicode_FSConverter(values[0], &path)) goto cleanup;
    for (Py_ssize_t i = 0; i < total; i++)
        if (describe_job(PyTuple_GetItem(values[1], i), &jobs[i]) < 0) goto cleanup;
    const char *target = PyBytes_AsString(path);
    ec_status status;
    CORE_WITHOUT_GIL(
        &context,
        status = ec_compress_to_file(
            target, jobs, (int64_t)total, method, row_alignment, metadata, core_progress, &context, reports));
    if (core_check(status) == 0) result = report_list(reports, total);
cleanup:
    Py_XDECREF(path);
    PyMem_Free(jobs);
    PyMem_Free(reports);
    return result;
}

static PyObject *warm_up(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"warm_up", 2, 2, {"table", "progress"}};
    PyObject *values[2];
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    if (table == NULL || core_progress_init(&context, values[1]) < 0) return NULL;
    int64_t bytes;
    ec_status status;
    CORE_WITHOUT_GIL(&context, status = ec_table_warm_up(table, core_progress, &context, &bytes));
    return core_check(status) < 0 ? NULL : PyLong_FromLongLong(bytes);
}

PyMethodDef core_files_methods[] = {
    {"save", FAST(save), "Write a tuple of (name, table) to a file."},
    {"compress_to_file", FAST(compress_to_file), "Compress a tuple of (name, source, weights, options) to a file."},
    {"load", FAST(load), "Open a table of a file."},
    {"warm_up", FAST(warm_up), "Read every page of the arrays of a table; their bytes."},
    {"file_contents", file_contents, METH_O, "What a safetensors file holds, as JSON."},
    {NULL, NULL, 0, NULL},
};
