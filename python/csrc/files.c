// Functions that read and write files.
#include "core.h"

/// One tensor of save(): (name, dtype, shape, bytes).
static int describe_tensor(PyObject *item, Buffer *buffer, int64_t *shape, ec_array *tensor) {
    PyObject *name, *dtype, *sizes, *bytes;
    ec_dtype type = EC_U8;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "UUO!O", &name, &dtype, &PyTuple_Type, &sizes, &bytes)) {
        PyErr_SetString(PyExc_TypeError, "each tensor must be a tuple of name, dtype, shape and bytes");
        return -1;
    }
    tensor->name = core_string(name, "the name of a tensor");
    if (tensor->name == NULL || core_dtype(dtype, "dtype", &type) < 0) return -1;
    Py_ssize_t rank = PyTuple_Size(sizes);
    if (rank > CORE_MAXIMUM_RANK) {
        PyErr_Format(PyExc_ValueError, "tensor '%s' has more than %d axes", tensor->name, CORE_MAXIMUM_RANK);
        return -1;
    }
    if (core_buffer(bytes, tensor->name, ELEMENT_UINT8, buffer) < 0) return -1;
    int64_t count = core_dtype_size(type);
    for (Py_ssize_t i = 0; i < rank; i++) {
        if (core_int64(PyTuple_GetItem(sizes, i), "shape", &shape[i]) < 0) return -1;
        if (shape[i] < 0 || __builtin_mul_overflow(count, shape[i], &count)) count = INT64_MIN;
    }
    if (count != core_buffer_count(buffer)) {
        PyErr_Format(PyExc_ValueError, "tensor '%s' has not the bytes that its shape says", tensor->name);
        return -1;
    }
    tensor->dtype = type;
    tensor->rank = (int32_t)rank;
    tensor->shape = shape;
    tensor->data = buffer->view.buf;
    return 0;
}

static PyObject *save(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"save", 5, 5, {"path", "tables", "tensors", "metadata", "progress"}};
    PyObject *values[5], *path = NULL, *result = NULL;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    const char *metadata = core_string(values[3], "metadata");
    if (metadata == NULL || core_progress_init(&context, values[4]) < 0) return NULL;
    if (!PyTuple_Check(values[1]) || !PyTuple_Check(values[2])) {
        PyErr_SetString(PyExc_TypeError, "tables and tensors must be tuples");
        return NULL;
    }
    Py_ssize_t total = PyTuple_Size(values[1]), plain = PyTuple_Size(values[2]);
    const ec_table **tables = PyMem_Calloc((size_t)total + 1, sizeof *tables);
    const char **names = PyMem_Calloc((size_t)total + 1, sizeof *names);
    ec_array *tensors = PyMem_Calloc((size_t)plain + 1, sizeof *tensors);
    int64_t *shapes = PyMem_Calloc((size_t)plain + 1, CORE_MAXIMUM_RANK * sizeof *shapes);
    Loan *loan = core_loan_new(plain);
    if (tables == NULL || names == NULL || tensors == NULL || shapes == NULL || loan == NULL) {
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
    for (Py_ssize_t i = 0; i < plain; i++) {
        PyObject *item = PyTuple_GetItem(values[2], i);
        if (describe_tensor(item, &loan->lent[i].buffer, shapes + CORE_MAXIMUM_RANK * i, &tensors[i]) < 0) goto cleanup;
    }
    const char *target = PyBytes_AsString(path);
    int64_t bytes;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context,
        status = ec_save(
            target, tables, names, (int64_t)total, tensors, (int64_t)plain, metadata, core_progress, &context, &bytes));
    if (core_check(status) == 0) result = PyLong_FromLongLong(bytes);
cleanup:
    Py_XDECREF(path);
    if (loan != NULL) core_loan_free(loan);
    PyMem_Free(tables);
    PyMem_Free(names);
    PyMem_Free(tensors);
    PyMem_Free(shapes);
    return result;
}

static PyObject *read_tensors(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"read_tensors", 2, 2, {"path", "tensors"}};
    PyObject *values[2], *path = NULL, *result = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (!PyTuple_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "tensors must be a tuple of (name, array)");
        return NULL;
    }
    Py_ssize_t total = PyTuple_Size(values[1]);
    ec_read *reads = PyMem_Calloc((size_t)total + 1, sizeof *reads);
    Loan *loan = core_loan_new(total);
    if (reads == NULL || loan == NULL) {
        PyErr_NoMemory();
        goto cleanup;
    }
    if (!PyUnicode_FSConverter(values[0], &path)) goto cleanup;
    for (Py_ssize_t i = 0; i < total; i++) {
        PyObject *item = PyTuple_GetItem(values[1], i), *name, *array;
        if (!PyArg_ParseTuple(item, "UO", &name, &array)) goto cleanup;
        reads[i].name = core_string(name, "the name of a tensor");
        if (reads[i].name == NULL) goto cleanup;
        if (core_output(array, reads[i].name, ELEMENT_UINT8, &loan->lent[i].buffer) < 0) goto cleanup;
        reads[i].data = loan->lent[i].buffer.view.buf;
        reads[i].byte_count = loan->lent[i].buffer.view.len;
    }
    const char *source = PyBytes_AsString(path);
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_file_read(source, reads, (int64_t)total);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
cleanup:
    Py_XDECREF(path);
    if (loan != NULL) core_loan_free(loan);
    PyMem_Free(reads);
    return result;
}

/// A call of write_file: the function that fills the file, and what taking the GIL needs.
typedef struct Filling {
    PyObject *function;
    PyThreadState *saved;
} Filling;

static int32_t fill(int32_t descriptor, void *context) {
    Filling *filling = context;
    if (!core_visit_python()) return 1;
    PyEval_RestoreThread(filling->saved);
    PyObject *answer = PyObject_CallFunction(filling->function, "i", (int)descriptor);
    int32_t stop = answer == NULL;
    Py_XDECREF(answer);
    filling->saved = PyEval_SaveThread();
    core_leave_python();
    return stop;
}

static PyObject *write_file(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"write_file", 2, 2, {"path", "fill"}};
    PyObject *values[2], *path;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (!PyUnicode_FSConverter(values[0], &path)) return NULL;
    Filling filling = {.function = values[1], .saved = PyEval_SaveThread()};
    ec_status status = ec_file_write(PyBytes_AsString(path), fill, &filling);
    PyEval_RestoreThread(filling.saved);
    Py_DECREF(path);
    return core_check(status) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *load(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"load", 5, 5, {"path", "name", "mmap", "verify", "progress"}};
    PyObject *values[5], *path = NULL;
    const char *name = NULL;
    int32_t map = 1, verify = 0;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (values[1] != Py_None && (name = core_string(values[1], "name")) == NULL) return NULL;
    if (core_bool(values[2], "mmap", &map) < 0 || core_bool(values[3], "verify", &verify) < 0) return NULL;
    if (core_progress_init(&context, values[4]) < 0 || !PyUnicode_FSConverter(values[0], &path)) return NULL;
    const char *source = PyBytes_AsString(path);
    ec_table *table;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = verify ? ec_load_verified(source, name, map, core_progress, &context, &table)
                                  : ec_load(source, name, map, &table));
    Py_DECREF(path);
    return core_check(status) < 0 ? NULL : core_table_wrap(table);
}

static PyObject *file_verify(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"file_verify", 2, 2, {"path", "progress"}};
    PyObject *values[2], *path = NULL;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (core_progress_init(&context, values[1]) < 0 || !PyUnicode_FSConverter(values[0], &path)) return NULL;
    const char *source = PyBytes_AsString(path);
    ec_status status;
    CORE_WITHOUT_GIL(&context, status = ec_file_verify(source, core_progress, &context));
    Py_DECREF(path);
    return core_check(status) < 0 ? NULL : Py_NewRef(Py_None);
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

static PyObject *read_vectors(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"read_vectors", 3, 3, {"text", "rows", "words"}};
    PyObject *values[3], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    Buffer text = {0}, rows = {0}, words = {0};
    if (core_buffer(values[0], "text", ELEMENT_UINT8, &text) < 0) goto done;
    if (core_output(values[1], "rows", ELEMENT_FLOAT32, &rows) < 0) goto done;
    if (core_output(values[2], "words", ELEMENT_ID, &words) < 0) goto done;
    if (rows.view.ndim != 2 || words.view.ndim != 2 || words.view.shape[0] != rows.view.shape[0]
        || words.view.shape[1] != 2 || words.view.itemsize != 8) {
        PyErr_SetString(PyExc_ValueError, "rows must be (capacity, dimension), and words (capacity, 2) of int64");
        goto done;
    }
    int64_t read_rows, read_bytes;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_read_vectors(
        text.view.buf, core_buffer_count(&text), rows.view.shape[1], rows.view.shape[0], rows.view.buf, words.view.buf,
        &read_rows, &read_bytes);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_BuildValue("LL", (long long)read_rows, (long long)read_bytes);
done:
    core_buffer_release(&text);
    core_buffer_release(&rows);
    core_buffer_release(&words);
    return result;
}

PyMethodDef core_files_methods[] = {
    {"save", FAST(save),
     "Write a tuple of (name, table), and one of (name, dtype, shape, bytes), to a file; the bytes of its tensors."},
    {"read_tensors", FAST(read_tensors), "Read tensors of a file into a tuple of (name, array of bytes)."},
    {"write_file", FAST(write_file), "Write any file through a function that takes a descriptor."},
    {"load", FAST(load), "Open a table of a file."},
    {"file_verify", FAST(file_verify), "Check all arrays of a file."},
    {"warm_up", FAST(warm_up), "Read every page of the arrays of a table; their bytes."},
    {"file_contents", file_contents, METH_O, "What a safetensors file holds, as JSON."},
    {"read_vectors", FAST(read_vectors),
     "Read lines of words and numbers into an array of rows and one of where words lie; how many, and where it stopped."},
    {NULL, NULL, 0, NULL},
};
