// Pooled lookups: of one table, and of several at once.
#include "core.h"

static const char *const modes[] = {"sum", "mean", "max", NULL};

/// Fills the bags of two-dimensional ids, each row a bag: offsets are made here. Returns them, to be freed, or NULL.
static int64_t *row_offsets(const Buffer *ids) {
    int64_t rows = ids->view.shape[0], columns = ids->view.shape[1];
    int64_t *offsets = PyMem_Malloc((size_t)(rows + 1) * sizeof *offsets);
    if (offsets == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (int64_t i = 0; i <= rows; i++) offsets[i] = i * columns;
    return offsets;
}

/// Ids and offsets of a call, as torch.nn.EmbeddingBag takes them.
static int fill_bags(const Buffer *ids, const Buffer *offsets, int64_t **made, ec_bags *bags) {
    bags->ids = ids->view.buf;
    bags->id_bytes = (int32_t)ids->view.itemsize;
    bags->id_count = core_buffer_count(ids);
    if (ids->view.ndim == 2) {
        if (offsets->held) {
            PyErr_SetString(PyExc_ValueError, "offsets must be None when ids have two axes: each row is a bag");
            return -1;
        }
        if ((*made = row_offsets(ids)) == NULL) return -1;
        bags->offsets = *made;
        bags->offset_bytes = 8;
        bags->offset_count = ids->view.shape[0] + 1;
        bags->include_last_offset = 1;
        return 0;
    }
    if (ids->view.ndim != 1) {
        PyErr_Format(PyExc_ValueError, "ids must have one axis, or two without offsets, not %d", ids->view.ndim);
        return -1;
    }
    if (!offsets->held) {
        PyErr_SetString(PyExc_ValueError, "offsets are needed when ids have one axis");
        return -1;
    }
    if (offsets->view.ndim != 1) {
        PyErr_Format(PyExc_ValueError, "offsets must have one axis, not %d", offsets->view.ndim);
        return -1;
    }
    bags->offsets = offsets->view.buf;
    bags->offset_bytes = (int32_t)offsets->view.itemsize;
    bags->offset_count = core_buffer_count(offsets);
    return 0;
}

static int fill_weights(const Buffer *weights, const Buffer *ids, ec_bags *bags) {
    if (!weights->held) return 0;
    bool fits = weights->view.ndim == ids->view.ndim;
    for (int i = 0; fits && i < ids->view.ndim; i++) fits = weights->view.shape[i] == ids->view.shape[i];
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "per_sample_weights must have the shape of ids");
        return -1;
    }
    // An empty array may have no memory; its weights still say which mode is meant.
    static const float none = 0;
    bags->weights = weights->view.buf == NULL ? &none : weights->view.buf;
    return 0;
}

/// The values are the arguments of the `bag` of Table, in its order.
static PyObject *bag(PyObject *table, PyObject *const *values, const Arrays *arrays) {
    ec_table *handle = core_table_handle(table, "table");
    if (handle == NULL) return NULL;
    ec_bags bags = {.padding_id = -1};
    int mode = EC_SUM, policy = EC_RAISE;
    int64_t padding = -1;
    if (core_choice(values[2], "mode", modes, &mode) < 0) return NULL;
    if (core_bool(values[4], "include_last_offset", &bags.include_last_offset) < 0) return NULL;
    if (core_optional_int64(values[5], "padding_idx", &padding) < 0) return NULL;
    if (core_choice(values[7], "on_invalid", core_policies, &policy) < 0) return NULL;
    bool padded = values[5] != NULL && values[5] != Py_None;
    if (padded && (padding < 0 || padding >= ec_table_rows(handle))) {
        PyErr_Format(
            PyExc_ValueError, "padding_idx must be from 0 to %lld, not %lld", (long long)ec_table_rows(handle) - 1,
            (long long)padding);
        return NULL;
    }
    bags.padding_id = padding;
    bags.mode = (ec_mode)mode;
    bags.on_invalid = (ec_on_invalid)policy;

    PyObject *result = NULL;
    int64_t *made = NULL;
    Buffer ids = {.held = false}, offsets = {.held = false}, weights = {.held = false}, out = {.held = false};
    if (arrays->take(values[0], "ids", ELEMENT_ID, &ids) < 0) goto cleanup;
    if (values[1] != NULL && values[1] != Py_None && arrays->take(values[1], "offsets", ELEMENT_ID, &offsets) < 0)
        goto cleanup;
    if (values[3] != NULL && values[3] != Py_None
        && arrays->take(values[3], "per_sample_weights", ELEMENT_FLOAT32, &weights) < 0)
        goto cleanup;
    if (fill_bags(&ids, &offsets, &made, &bags) < 0 || fill_weights(&weights, &ids, &bags) < 0) goto cleanup;

    int64_t bag_count = bags.offset_count - (bags.include_last_offset && bags.offset_count > 0 ? 1 : 0);
    const int64_t shape[2] = {bag_count, ec_table_dimension(handle)};
    result = core_prepare_output(arrays, values[6], 2, shape, &out);
    if (result == NULL) goto cleanup;
    if (core_check_overlap(&out, "out", &ids, "ids") < 0 || core_check_overlap(&out, "out", &offsets, "offsets") < 0
        || core_check_overlap(&out, "out", &weights, "per_sample_weights") < 0
        || (result == values[6] && core_check_table_overlap(&out, table) < 0)) {
        Py_CLEAR(result);
        goto cleanup;
    }
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_table_bag(handle, &bags, out.view.buf);
    PyEval_RestoreThread(saved);
    if (core_check(status) < 0) Py_CLEAR(result);
cleanup:
    core_buffer_release(&ids);
    core_buffer_release(&offsets);
    core_buffer_release(&weights);
    core_buffer_release(&out);
    PyMem_Free(made);
    return result;
}

PyObject *core_table_bag(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const Parameters parameters = {
        "bag", 8, 1,
        {"ids", "offsets", "mode", "per_sample_weights", "include_last_offset", "padding_idx", "out", "on_invalid"}};
    PyObject *values[8];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    return bag(self, values, &core_arrays);
}

static PyObject *bag_tensor(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "bag_tensor", 7, 2,
        {"table", "ids", "offsets", "mode", "per_sample_weights", "include_last_offset", "padding_idx"}};
    PyObject *values[9] = {NULL};
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    return bag(values[0], values + 1, &core_tensors);
}

// MARK: - Several tables

/// The handles of a tuple of tables, to be freed, and the sum of their dimensions; or NULL.
static const ec_table **take_tables(PyObject *tables, int64_t *dimension) {
    if (!PyTuple_Check(tables) || PyTuple_Size(tables) == 0) {
        PyErr_SetString(PyExc_TypeError, "tables must be a tuple of at least one table");
        return NULL;
    }
    Py_ssize_t total = PyTuple_Size(tables);
    const ec_table **handles = PyMem_Malloc((size_t)total * sizeof *handles);
    if (handles == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *dimension = 0;
    for (Py_ssize_t i = 0; i < total; i++) {
        handles[i] = core_table_handle(PyTuple_GetItem(tables, i), "a table");
        if (handles[i] != NULL && !__builtin_add_overflow(*dimension, ec_table_dimension(handles[i]), dimension))
            continue;
        if (handles[i] != NULL) PyErr_SetString(PyExc_ValueError, "the tables' dimensions add up to too many columns");
        PyMem_Free(handles);
        return NULL;
    }
    return handles;
}

static int fill_jagged(const Buffer *ids, const Buffer *offsets, int64_t features, ec_bags *bags) {
    if (ids->view.ndim != 1 || offsets->view.ndim != 1) {
        PyErr_SetString(PyExc_ValueError, "ids and offsets must have one axis");
        return -1;
    }
    bags->ids = ids->view.buf;
    bags->id_bytes = (int32_t)ids->view.itemsize;
    bags->id_count = core_buffer_count(ids);
    bags->offsets = offsets->view.buf;
    bags->offset_bytes = (int32_t)offsets->view.itemsize;
    bags->offset_count = core_buffer_count(offsets);
    bags->include_last_offset = 1;
    if (bags->offset_count > 0 && (bags->offset_count - 1) % features == 0) return 0;
    PyErr_Format(
        PyExc_ValueError,
        "offsets must have as many entries as features times samples, and one more: %lld do not go with %lld features",
        (long long)bags->offset_count, (long long)features);
    return -1;
}

/// The values are the arguments of `bags`, in its order.
static PyObject *pool(PyObject *const *values, const Arrays *arrays) {
    int mode = EC_SUM, policy = EC_RAISE;
    if (core_choice(values[3], "mode", modes, &mode) < 0) return NULL;
    if (core_choice(values[6], "on_invalid", core_policies, &policy) < 0) return NULL;
    ec_bags bags = {.padding_id = -1, .mode = (ec_mode)mode, .on_invalid = (ec_on_invalid)policy};

    int64_t dimension;
    const ec_table **tables = take_tables(values[0], &dimension);
    if (tables == NULL) return NULL;
    int64_t features = PyTuple_Size(values[0]);
    PyObject *result = NULL;
    Buffer ids = {.held = false}, offsets = {.held = false}, weights = {.held = false}, out = {.held = false};
    if (arrays->take(values[1], "ids", ELEMENT_ID, &ids) < 0
        || arrays->take(values[2], "offsets", ELEMENT_ID, &offsets) < 0)
        goto cleanup;
    if (values[4] != NULL && values[4] != Py_None
        && arrays->take(values[4], "per_sample_weights", ELEMENT_FLOAT32, &weights) < 0)
        goto cleanup;
    if (fill_jagged(&ids, &offsets, features, &bags) < 0 || fill_weights(&weights, &ids, &bags) < 0) goto cleanup;

    const int64_t shape[2] = {(bags.offset_count - 1) / features, dimension};
    result = core_prepare_output(arrays, values[5], 2, shape, &out);
    if (result == NULL) goto cleanup;
    if (core_check_overlap(&out, "out", &ids, "ids") < 0 || core_check_overlap(&out, "out", &offsets, "offsets") < 0
        || core_check_overlap(&out, "out", &weights, "per_sample_weights") < 0) {
        Py_CLEAR(result);
        goto cleanup;
    }
    for (Py_ssize_t i = 0; result == values[5] && i < features; i++) {
        if (core_check_table_overlap(&out, PyTuple_GetItem(values[0], i)) < 0) {
            Py_CLEAR(result);
            goto cleanup;
        }
    }
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_tables_bag(tables, features, &bags, out.view.buf);
    PyEval_RestoreThread(saved);
    if (core_check(status) < 0) Py_CLEAR(result);
cleanup:
    core_buffer_release(&ids);
    core_buffer_release(&offsets);
    core_buffer_release(&weights);
    core_buffer_release(&out);
    PyMem_Free(tables);
    return result;
}

static PyObject *bags(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "bags", 7, 3, {"tables", "ids", "offsets", "mode", "per_sample_weights", "out", "on_invalid"}};
    PyObject *values[7];
    return core_bind(&parameters, args, count, keywords, values) < 0 ? NULL : pool(values, &core_arrays);
}

static PyObject *bags_tensor(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "bags_tensor", 5, 3, {"tables", "ids", "offsets", "mode", "per_sample_weights"}};
    PyObject *values[7] = {NULL};
    return core_bind(&parameters, args, count, keywords, values) < 0 ? NULL : pool(values, &core_tensors);
}

PyMethodDef core_bags_methods[] = {
    {"bags", FAST(bags), "Pooled lookups of a tuple of tables, one for each feature, in one call."},
    {"bag_tensor", FAST(bag_tensor), "What the bag of a table does, from tensors to a tensor."},
    {"bags_tensor", FAST(bags_tensor), "What bags does, from tensors to a tensor."},
    {NULL, NULL, 0, NULL},
};
