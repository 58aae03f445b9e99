// The Table type: what is called for every batch.
#include <stdlib.h>

#include "core.h"

const char *const core_policies[] = {"raise", "zero", NULL};

typedef struct TableObject {
    PyObject_HEAD
    ec_table *handle;
    /// Buffers of nobody that say where the arrays lie; NULL until an output is compared with them.
    Buffer *memory;
    int64_t memory_count;
} TableObject;

static PyTypeObject *base_type;
/// The subclass that the Python side defines; what functions return.
static PyObject *table_type;

// MARK: - Objects

PyObject *core_table_wrap(ec_table *handle) {
    PyTypeObject *type = (PyTypeObject *)(table_type != NULL ? table_type : (PyObject *)base_type);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    TableObject *object = (TableObject *)allocate(type, 0);
    if (object == NULL) {
        ec_table_release(handle);
        return NULL;
    }
    object->handle = handle;
    object->memory = NULL;
    return (PyObject *)object;
}

ec_table *core_table_handle(PyObject *object, const char *name) {
    if (!PyObject_TypeCheck(object, base_type)) {
        PyErr_Format(PyExc_TypeError, "%s must be a Table", name);
        return NULL;
    }
    return ((TableObject *)object)->handle;
}

int core_optional_table(PyObject *object, const char *name, ec_table **target) {
    if (object == Py_None) return 0;
    *target = core_table_handle(object, name);
    return *target == NULL ? -1 : 0;
}

/// Notes where the arrays lie.
static int find_memory(TableObject *table) {
    const int64_t count = ec_table_array_count(table->handle);
    Buffer *memory = calloc((size_t)count + 1, sizeof *memory);
    if (memory == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int64_t i = 0; i < count; i++) {
        ec_array array;
        if (core_check(ec_table_array(table->handle, i, &array)) < 0) {
            free(memory);
            return -1;
        }
        int64_t bytes = core_dtype_size(array.dtype);
        for (int axis = 0; axis < array.rank; axis++) bytes *= array.shape[axis];
        memory[i] = (Buffer){.view = {.buf = (void *)array.data, .len = (Py_ssize_t)bytes}, .held = true};
    }
    table->memory = memory;
    table->memory_count = count;
    return 0;
}

int core_check_table_overlap(const Buffer *output, PyObject *object) {
    TableObject *table = (TableObject *)object;
    if (table->memory == NULL && find_memory(table) < 0) return -1;
    for (int64_t i = 0; i < table->memory_count; i++)
        if (core_check_overlap(output, "out", &table->memory[i], "the table") < 0) return -1;
    return 0;
}

PyObject *core_set_table_type(PyObject *module, PyObject *type) {
    (void)module;
    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, base_type)) {
        PyErr_SetString(PyExc_TypeError, "the type must be a subclass of Table");
        return NULL;
    }
    PyObject *before = table_type;
    Py_INCREF(type);
    table_type = type;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static void table_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ec_table_release(((TableObject *)self)->handle);
    free(((TableObject *)self)->memory);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    (void)type, (void)args, (void)keywords;
    PyErr_SetString(PyExc_TypeError, "tables are made by compress(), load() and their like");
    return NULL;
}

// MARK: - Attributes

PyObject *core_text(ec_string text) {
    PyObject *result = PyUnicode_FromStringAndSize(text.bytes, (Py_ssize_t)text.count);
    ec_string_release(text);
    return result;
}

#define HANDLE(self) (((TableObject *)(self))->handle)

static PyObject *get_rows(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(ec_table_rows(HANDLE(self)));
}
static PyObject *get_dimension(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(ec_table_dimension(HANDLE(self)));
}
static PyObject *get_stored_bytes(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(ec_table_stored_bytes(HANDLE(self)));
}
static PyObject *get_invalid_count(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(ec_table_invalid_count(HANDLE(self)));
}

static PyGetSetDef attributes[] = {
    {"rows", get_rows, NULL, "Ids are 0 to rows - 1.", NULL},
    {"dimension", get_dimension, NULL, "Columns of a row.", NULL},
    {"stored_bytes", get_stored_bytes, NULL, "Every byte of the expression: codes, scales, maps, constants.", NULL},
    {"invalid_count", get_invalid_count, NULL, "Ids that were answered with zeros under on_invalid='zero'.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *table_str(PyObject *self) {
    ec_string text;
    return core_check(ec_table_description(HANDLE(self), &text)) < 0 ? NULL : core_text(text);
}

// MARK: - Looking up

enum { MAXIMUM_RANK = 64 };

/// The values are ids, out and on_invalid.
static PyObject *lookup(PyObject *table, PyObject *const *values, const Arrays *arrays) {
    ec_table *handle = HANDLE(table);
    int policy = EC_RAISE;
    if (core_choice(values[2], "on_invalid", core_policies, &policy) < 0) return NULL;

    PyObject *result = NULL;
    Buffer ids, out = {.held = false};
    if (arrays->take(values[0], "ids", ELEMENT_ID, &ids) < 0) return NULL;
    int rank = ids.view.ndim;
    int64_t shape[MAXIMUM_RANK + 1];
    if (rank > MAXIMUM_RANK) {
        PyErr_Format(PyExc_ValueError, "ids have %d axes, more than %d", rank, MAXIMUM_RANK);
        goto cleanup;
    }
    for (int i = 0; i < rank; i++) shape[i] = ids.view.shape[i];
    shape[rank] = ec_table_dimension(handle);
    result = core_prepare_output(arrays, values[1], rank + 1, shape, &out);
    if (result == NULL) goto cleanup;
    if (core_check_overlap(&out, "out", &ids, "ids") < 0
        || (result == values[1] && core_check_table_overlap(&out, table) < 0)) {
        Py_CLEAR(result);
        goto cleanup;
    }
    ec_status status;
    PyThreadState *saved = PyEval_SaveThread();
    status = ec_table_lookup(
        handle, ids.view.buf, (int32_t)ids.view.itemsize, core_buffer_count(&ids), (ec_on_invalid)policy, out.view.buf);
    PyEval_RestoreThread(saved);
    if (core_check(status) < 0) Py_CLEAR(result);
cleanup:
    core_buffer_release(&ids);
    core_buffer_release(&out);
    return result;
}

static PyObject *table_lookup(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const Parameters parameters = {"lookup", 3, 1, {"ids", "out", "on_invalid"}};
    PyObject *values[3];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    return lookup(self, values, &core_arrays);
}

PyObject *core_lookup_tensor(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"lookup_tensor", 2, 2, {"table", "ids"}};
    PyObject *values[4] = {NULL};
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    return core_table_handle(values[0], "table") == NULL ? NULL : lookup(values[0], values + 1, &core_tensors);
}

static PyObject *table_decode(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const Parameters parameters = {"decode", 3, 0, {"start", "stop", "out"}};
    PyObject *values[3];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *handle = HANDLE(self);
    int64_t start = 0, stop = ec_table_rows(handle);
    if (core_int64(values[0], "start", &start) < 0 || core_optional_int64(values[1], "stop", &stop) < 0) return NULL;
    if (start < 0 || start > stop || stop > ec_table_rows(handle)) {
        PyErr_Format(
            PyExc_ValueError, "rows %lld to %lld are not within the table's %lld rows", (long long)start,
            (long long)stop, (long long)ec_table_rows(handle));
        return NULL;
    }
    Buffer out;
    const int64_t shape[2] = {stop - start, ec_table_dimension(handle)};
    PyObject *result = core_prepare_output(&core_arrays, values[2], 2, shape, &out);
    if (result == NULL) return NULL;
    if (result == values[2] && core_check_table_overlap(&out, self) < 0) {
        core_buffer_release(&out);
        Py_DECREF(result);
        return NULL;
    }
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_table_decode(handle, start, stop, out.view.buf);
    PyEval_RestoreThread(saved);
    core_buffer_release(&out);
    if (core_check(status) < 0) Py_CLEAR(result);
    return result;
}

PyObject *core_multiply(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"multiply", 6, 6, {"table", "start", "stop", "vectors", "bias", "out"}};
    PyObject *values[6], *result = NULL;
    int64_t start = 0, stop = 0;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *handle = core_table_handle(values[0], "table");
    if (handle == NULL || core_int64(values[1], "start", &start) < 0 || core_int64(values[2], "stop", &stop) < 0)
        return NULL;
    Buffer vectors = {0}, bias = {0}, out = {0};
    const int has_bias = values[4] != Py_None;
    if (core_buffer(values[3], "vectors", ELEMENT_FLOAT32, &vectors) < 0) goto done;
    if (has_bias && core_buffer(values[4], "bias", ELEMENT_FLOAT32, &bias) < 0) goto done;
    if (core_output(values[5], "out", ELEMENT_FLOAT32, &out) < 0) goto done;
    if (vectors.view.ndim != 2 || vectors.view.shape[1] != ec_table_dimension(handle)) {
        PyErr_Format(
            PyExc_ValueError, "vectors must have two axes, of which the last is %lld",
            (long long)ec_table_dimension(handle));
        goto done;
    }
    if (start > stop || out.view.ndim != 2 || out.view.shape[0] != vectors.view.shape[0]
        || out.view.shape[1] != stop - start || (has_bias && core_buffer_count(&bias) != stop - start)) {
        PyErr_SetString(PyExc_ValueError, "out must have a line for each vector, and as many columns as rows, as bias has");
        goto done;
    }
    if (core_check_overlap(&out, "out", &vectors, "vectors") < 0) goto done;
    if (has_bias && core_check_overlap(&out, "out", &bias, "bias") < 0) goto done;
    if (core_check_table_overlap(&out, values[0]) < 0) goto done;
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status = ec_table_multiply(
        handle, start, stop, vectors.view.buf, vectors.view.shape[0], has_bias ? bias.view.buf : NULL, out.view.buf);
    PyEval_RestoreThread(saved);
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    core_buffer_release(&vectors);
    core_buffer_release(&bias);
    core_buffer_release(&out);
    return result;
}

PyObject *core_touch(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"touch", 2, 2, {"table", "ids"}};
    PyObject *values[2];
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *handle = core_table_handle(values[0], "table");
    Buffer ids;
    if (handle == NULL || core_buffer(values[1], "ids", ELEMENT_ID, &ids) < 0) return NULL;
    int64_t checksum = 0;
    PyThreadState *saved = PyEval_SaveThread();
    ec_status status =
        ec_table_touch(handle, ids.view.buf, (int32_t)ids.view.itemsize, core_buffer_count(&ids), &checksum);
    PyEval_RestoreThread(saved);
    core_buffer_release(&ids);
    return core_check(status) < 0 ? NULL : PyLong_FromLongLong(checksum);
}

static PyObject *table_slice(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const Parameters parameters = {"slice", 2, 2, {"start", "stop"}};
    PyObject *values[2];
    int64_t start = 0, stop = 0;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (core_int64(values[0], "start", &start) < 0 || core_int64(values[1], "stop", &stop) < 0) return NULL;
    ec_table *slice;
    if (core_check(ec_table_slice(HANDLE(self), start, stop, &slice)) < 0) return NULL;
    return core_table_wrap(slice);
}

// MARK: - The type

static PyMethodDef table_methods[] = {
    {"lookup", FAST(table_lookup),
     "lookup($self, ids, out=None, on_invalid='raise')\n--\n\n"
     "Look rows up.\n\n"
     "Args:\n"
     "    ids: integers of any dtype and shape; never written to. int32 and int64 are read where they lie,\n"
     "        unless they are strided; anything else costs a copy.\n"
     "    out: float32 array of shape (*ids.shape, dimension) to write to; a new one if None.\n"
     "    on_invalid: 'raise', or 'zero' to answer ids outside [0, rows) with zeros and count them in\n"
     "        invalid_count.\n\n"
     "Returns:\n"
     "    float32 array of shape (*ids.shape, dimension).\n\n"
     "Raises:\n"
     "    IndexError: an id is outside [0, rows); nothing has been written.\n"
     "    ValueError: ids are no integers, or have a mask; out is strided, byte-swapped, read-only, or of the wrong\n"
     "        dtype or shape, or shares memory with the ids or the table.\n"
     "    OSError: the table is mapped from a file that has become shorter, or whose drive fails.\n"},
    {"bag", FAST(core_table_bag),
     "bag($self, ids, offsets=None, mode='sum', per_sample_weights=None, include_last_offset=False,\n"
     "    padding_idx=None, out=None, on_invalid='raise')\n--\n\n"
     "Look rows up and pool them, with the semantics of torch.nn.EmbeddingBag.\n\n"
     "Args:\n"
     "    ids: Integers, as for lookup. One axis, with offsets; or two, each row a bag, without.\n"
     "    offsets: Integers: where each bag starts: 0 first, never decreasing, at most len(ids).\n"
     "    mode: 'sum', 'mean' or 'max'. An empty bag gives zeros.\n"
     "    per_sample_weights: Numbers in the shape of ids, of a dtype that compress takes; only with 'sum'.\n"
     "    include_last_offset: offsets has one more entry, len(ids).\n"
     "    padding_idx: ids equal to this take no part.\n"
     "    out: float32 array of shape (bags, dimension) to write to; a new one if None.\n"
     "    on_invalid: 'raise', or 'zero' to take ids outside [0, rows) as rows of zeros.\n\n"
     "Returns:\n"
     "    float32 array of shape (bags, dimension).\n\n"
     "Raises:\n"
     "    IndexError: an id is outside [0, rows).\n"
     "    ValueError: offsets that are no offsets, or an array of the wrong kind; or out shares memory with what is read.\n"
     "    OSError: as for lookup.\n"},
    {"decode", FAST(table_decode),
     "decode($self, start=0, stop=None, out=None)\n--\n\n"
     "Return rows [start, stop) as a float32 array of shape (stop - start, dimension); all rows by default.\n"},
    {"slice", FAST(table_slice),
     "slice($self, start, stop)\n--\n\n"
     "Return rows [start, stop) as a Table that shares this one's memory.\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_new, table_new},
    {Py_tp_str, table_str},
    {Py_tp_getset, attributes},
    {Py_tp_methods, table_methods},
    {Py_tp_doc, "A compressed embedding table."},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "embedcompress._core.Table",
    .basicsize = sizeof(TableObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = table_slots,
};

int core_table_init(PyObject *module) {
    base_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &table_spec, NULL);
    if (base_type == NULL) return -1;
    return PyModule_AddObjectRef(module, "Table", (PyObject *)base_type);
}
