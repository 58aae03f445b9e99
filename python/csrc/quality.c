// Functions that compare tables, and methods.
#include "core.h"

PyObject *core_quality(const ec_quality *quality) {
    return Py_BuildValue(
        "(dddLd)", quality->normalized_l2, quality->mean_cosine, quality->worst_row_l2, (long long)quality->worst_row,
        quality->mean_squared_error);
}

static PyObject *evaluate(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "evaluate", 6, 3, {"table", "source", "progress", "queries", "k", "seed"}};
    PyObject *values[6];
    ProgressContext context;
    int64_t queries = 0, k = 10, seed = 0;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    ec_table *source = table == NULL ? NULL : core_table_handle(values[1], "source");
    if (source == NULL || core_progress_init(&context, values[2]) < 0) return NULL;
    if (core_int64(values[3], "queries", &queries) < 0 || core_int64(values[4], "k", &k) < 0) return NULL;
    if (core_int64(values[5], "seed", &seed) < 0) return NULL;
    ec_quality quality;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_table_evaluate(table, source, queries, k, seed, core_progress, &context, &quality));
    if (core_check(status) < 0) return NULL;
    PyObject *figures = core_quality(&quality);
    PyObject *recall = quality.recall < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(quality.recall);
    PyObject *result = figures == NULL || recall == NULL ? NULL : Py_BuildValue("(OO)", figures, recall);
    Py_XDECREF(figures);
    Py_XDECREF(recall);
    return result;
}

static PyObject *neighbours(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"neighbours", 5, 5, {"table", "source", "queries", "out", "progress"}};
    PyObject *values[5], *result = NULL;
    ProgressContext context;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    ec_table *source = table == NULL ? NULL : core_table_handle(values[1], "source");
    if (source == NULL || core_progress_init(&context, values[4]) < 0) return NULL;
    Buffer queries = {0}, out = {0};
    if (core_buffer(values[2], "queries", ELEMENT_ID, &queries) < 0) goto done;
    if (core_output(values[3], "out", ELEMENT_ID, &out) < 0) goto done;
    if (queries.view.itemsize != 8 || out.view.itemsize != 8 || queries.view.ndim != 1 || out.view.ndim != 2
        || out.view.shape[0] != queries.view.shape[0]) {
        PyErr_SetString(PyExc_ValueError, "queries must be int64 of one axis, and out int64 with a line for each");
        goto done;
    }
    if (core_check_overlap(&out, "out", &queries, "queries") < 0) goto done;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_table_neighbours(
                      table, source, queries.view.buf, queries.view.shape[0], out.view.shape[1], core_progress,
                      &context, out.view.buf));
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    core_buffer_release(&queries);
    core_buffer_release(&out);
    return result;
}

static PyObject *recommend(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "recommend", 7, 7, {"source", "budget", "counts", "metric", "sample", "seed", "progress"}};
    PyObject *values[7], *result = NULL;
    ProgressContext context;
    int64_t budget = 0, sample = 0, seed = 0;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *source = core_table_handle(values[0], "source");
    if (source == NULL || core_int64(values[1], "budget", &budget) < 0) return NULL;
    const char *metric = core_string(values[3], "metric");
    if (metric == NULL || core_int64(values[4], "sample", &sample) < 0) return NULL;
    if (core_int64(values[5], "seed", &seed) < 0 || core_progress_init(&context, values[6]) < 0) return NULL;
    Buffer counts = {0};
    if (values[2] != Py_None) {
        if (core_buffer(values[2], "counts", ELEMENT_ANY, &counts) < 0) return NULL;
        if (core_format_letter(&counts) != 'd') {
            PyErr_SetString(PyExc_ValueError, "counts must be float64 in native byte order");
            goto done;
        }
    }
    ec_string text;
    ec_status status;
    CORE_WITHOUT_GIL(
        &context, status = ec_table_recommend(
                      source, budget, counts.held ? counts.view.buf : NULL,
                      counts.held ? core_buffer_count(&counts) : 0, metric, sample, seed, core_progress, &context,
                      &text));
    if (core_check(status) == 0) result = core_text(text);
done:
    core_buffer_release(&counts);
    return result;
}

static PyObject *expression_summary(PyObject *module, PyObject *table) {
    (void)module;
    ec_table *handle = core_table_handle(table, "table");
    ec_string text;
    return handle == NULL || core_check(ec_table_expression_summary(handle, &text)) < 0 ? NULL : core_text(text);
}

static PyObject *choices(PyObject *module, PyObject *table) {
    (void)module;
    ec_table *handle = core_table_handle(table, "table");
    ec_string text;
    return handle == NULL || core_check(ec_table_choices(handle, &text)) < 0 ? NULL : core_text(text);
}

PyMethodDef core_quality_methods[] = {
    {"evaluate", FAST(evaluate),
     "(normalized l2, mean cosine, worst row's l2, worst row, mean squared error) and recall@k or None."},
    {"recommend", FAST(recommend), "The best few ways to compress a table within a budget, as JSON."},
    {"expression_summary", expression_summary, METH_O, "The expression of a table in a line."},
    {"choices", choices, METH_O, "What a method chose by itself, as JSON."},
    {"neighbours", FAST(neighbours), "Fills an array with the nearest rows of a table to rows of another."},
    {NULL, NULL, 0, NULL},
};
