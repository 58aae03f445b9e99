// Functions that fill arrays of a caller's, without a table.
#include "core.h"

static PyObject *nearest_codes(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"nearest_codes", 3, 3, {"rows", "centroids", "codes"}};
    PyObject *values[3], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    Buffer rows = {0}, centroids = {0}, codes = {0};
    if (core_buffer(values[0], "rows", ELEMENT_FLOAT32, &rows) < 0) goto done;
    if (core_buffer(values[1], "centroids", ELEMENT_FLOAT32, &centroids) < 0) goto done;
    if (core_output(values[2], "codes", ELEMENT_INT32, &codes) < 0) goto done;
    const Py_ssize_t *shape = centroids.view.shape;
    if (rows.view.ndim != 2 || centroids.view.ndim != 3 || codes.view.ndim != 2
        || rows.view.shape[1] != shape[0] * shape[2] || codes.view.shape[0] != rows.view.shape[0]
        || codes.view.shape[1] != shape[0]) {
        PyErr_SetString(
            PyExc_ValueError,
            "rows must be (n, parts * width), centroids (parts, entries, width) and codes (n, parts)");
        goto done;
    }
    if (core_check_overlap(&codes, "codes", &rows, "rows") < 0) goto done;
    if (core_check_overlap(&codes, "codes", &centroids, "centroids") < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_nearest_codes(
        rows.view.buf, rows.view.shape[0], centroids.view.buf, shape[0], shape[1], shape[2], codes.view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
done:
    core_buffer_release(&rows);
    core_buffer_release(&centroids);
    core_buffer_release(&codes);
    return result;
}

static PyObject *fake_quantize(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "fake_quantize", 8, 8,
        {"values", "scales", "biases", "group_rows", "group_columns", "last", "out", "kept"}};
    PyObject *objects[8], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    int64_t group_rows, group_columns, last;
    if (core_int64(objects[3], "group_rows", &group_rows) < 0) return NULL;
    if (core_int64(objects[4], "group_columns", &group_columns) < 0) return NULL;
    if (core_int64(objects[5], "last", &last) < 0) return NULL;
    Buffer values = {0}, scales = {0}, biases = {0}, out = {0}, kept = {0};
    if (core_buffer(objects[0], "values", ELEMENT_FLOAT32, &values) < 0) goto done;
    if (core_buffer(objects[1], "scales", ELEMENT_FLOAT32, &scales) < 0) goto done;
    if (core_buffer(objects[2], "biases", ELEMENT_FLOAT32, &biases) < 0) goto done;
    if (core_output(objects[6], "out", ELEMENT_FLOAT32, &out) < 0) goto done;
    if (core_output(objects[7], "kept", ELEMENT_UINT8, &kept) < 0) goto done;
    const int64_t elements = core_buffer_count(&values);
    const Py_ssize_t *shape = values.view.shape;
    if (values.view.ndim != 2 || core_buffer_count(&out) != elements || core_buffer_count(&kept) != elements) {
        PyErr_SetString(PyExc_ValueError, "values must be (rows, columns), and out and kept as many elements");
        goto done;
    }
    if (group_rows < 1 || group_columns < 1 || last < 1 || last > 255) {
        PyErr_SetString(PyExc_ValueError, "a group must have rows and columns, and last must be from 1 to 255");
        goto done;
    }
    const int64_t lines = shape[0] == 0 ? 0 : (shape[0] - 1) / group_rows + 1;
    const int64_t groups = shape[1] == 0 ? 0 : (shape[1] - 1) / group_columns + 1;
    if (core_buffer_count(&scales) != lines * groups || core_buffer_count(&biases) != lines * groups) {
        PyErr_Format(
            PyExc_ValueError, "there must be a scale and a bias for each of %lld groups", (long long)(lines * groups));
        goto done;
    }
    const Buffer *inputs[] = {&values, &scales, &biases, &kept};
    for (int i = 0; i < 4; i++) {
        if (core_check_overlap(&out, "out", inputs[i], i < 3 ? parameters.names[i] : "kept") < 0) goto done;
        if (i < 3 && core_check_overlap(&kept, "kept", inputs[i], parameters.names[i]) < 0) goto done;
    }
    int64_t clipped = 0;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_fake_quantize(
        values.view.buf, shape[0], shape[1], group_rows, group_columns, scales.view.buf, biases.view.buf, (int32_t)last,
        out.view.buf, kept.view.buf, &clipped);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = PyLong_FromLongLong(clipped);
done:
    core_buffer_release(&values);
    core_buffer_release(&scales);
    core_buffer_release(&biases);
    core_buffer_release(&out);
    core_buffer_release(&kept);
    return result;
}

static PyObject *symmetric_eigenvectors(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "symmetric_eigenvectors", 4, 4, {"matrix", "values", "vectors", "progress"}};
    PyObject *objects[4], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ProgressContext context;
    if (core_progress_init(&context, objects[3]) < 0) return NULL;
    Buffer matrix = {0}, values = {0}, vectors = {0};
    if (core_buffer(objects[0], "matrix", ELEMENT_FLOAT64, &matrix) < 0) goto done;
    if (core_output(objects[1], "values", ELEMENT_FLOAT64, &values) < 0) goto done;
    if (core_output(objects[2], "vectors", ELEMENT_FLOAT64, &vectors) < 0) goto done;
    const int64_t size = core_buffer_count(&values);
    if (matrix.view.ndim != 2 || matrix.view.shape[0] != size || matrix.view.shape[1] != size || vectors.view.ndim != 2
        || vectors.view.shape[0] != size || vectors.view.shape[1] != size || values.view.ndim != 1) {
        PyErr_SetString(PyExc_ValueError, "matrix and vectors must be (size, size), and values (size,)");
        goto done;
    }
    if (core_check_overlap(&values, "values", &matrix, "matrix") < 0) goto done;
    if (core_check_overlap(&vectors, "vectors", &matrix, "matrix") < 0) goto done;
    if (core_check_overlap(&vectors, "vectors", &values, "values") < 0) goto done;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_symmetric_eigenvectors(
                      matrix.view.buf, size, values.view.buf, vectors.view.buf, core_progress, &context));
    if (core_check(status) == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
done:
    core_buffer_release(&matrix);
    core_buffer_release(&values);
    core_buffer_release(&vectors);
    return result;
}

static PyObject *inner_rows(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"inner_rows", 3, 3, {"table", "ids", "out"}};
    PyObject *objects[3], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_table *table = core_table_handle(objects[0], "table");
    if (table == NULL) return NULL;
    Buffer ids = {0}, out = {0};
    if (core_buffer(objects[1], "ids", ELEMENT_ID, &ids) < 0) goto done;
    if (core_output(objects[2], "out", ELEMENT_ID, &out) < 0) goto done;
    if (out.view.itemsize != 8 || core_buffer_count(&out) != core_buffer_count(&ids)) {
        PyErr_SetString(PyExc_ValueError, "out must be int64, and have as many elements as ids");
        goto done;
    }
    if (core_check_overlap(&out, "out", &ids, "ids") < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_table_inner_rows(
        table, ids.view.buf, (int32_t)ids.view.itemsize, core_buffer_count(&ids), out.view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
done:
    core_buffer_release(&ids);
    core_buffer_release(&out);
    return result;
}

PyMethodDef core_filling_methods[] = {
    {"nearest_codes", FAST(nearest_codes), "The nearest centroid of each part of each row, into an array."},
    {"fake_quantize", FAST(fake_quantize), "Values rounded to what codes can say; how many are clipped."},
    {"symmetric_eigenvectors", FAST(symmetric_eigenvectors), "Eigenvalues and eigenvectors, into arrays."},
    {"inner_rows", FAST(inner_rows), "The rows of a remap's inner table that ids stand for, into an array."},
    {NULL, NULL, 0, NULL},
};
