// Parts of learned tables: hashes of ids, the sketch of which ids matter, and products of a tensor train.
#include "core.h"

/// An array of a call: its name, its elements, and whether it is written to.
typedef struct Array {
    const char *name;
    Element element;
    bool is_output;
    /// Bytes of an element; 0 for any that the elements can have.
    int width;
} Array;

static void release(Buffer *buffers, int count) {
    for (int i = 0; i < count; i++) core_buffer_release(&buffers[i]);
}

/// Takes buffers of objects, which the caller releases on failure, too. No output may share memory with another array.
static int take(PyObject *const *objects, const Array *arrays, int count, Buffer *buffers) {
    for (int i = 0; i < count; i++) {
        const Array *array = &arrays[i];
        const int taken = array->is_output ? core_output(objects[i], array->name, array->element, &buffers[i])
                                           : core_buffer(objects[i], array->name, array->element, &buffers[i]);
        if (taken < 0) return -1;
        if (array->width != 0 && buffers[i].view.itemsize != array->width) {
            PyErr_Format(PyExc_ValueError, "%s must have elements of %d bytes", array->name, array->width);
            return -1;
        }
        for (int j = 0; j < i; j++) {
            if (!array->is_output && !arrays[j].is_output) continue;
            if (core_check_overlap(&buffers[i], array->name, &buffers[j], arrays[j].name) < 0) return -1;
        }
    }
    return 0;
}

static int check_count(const Buffer *buffer, const char *name, int64_t count) {
    if (core_buffer_count(buffer) == count) return 0;
    PyErr_Format(PyExc_ValueError, "%s must have %lld elements", name, (long long)count);
    return -1;
}

static PyObject *hash_ids(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "hash_ids", 6, 6, {"ids", "factors", "summands", "moduli", "out", "buckets"}};
    static const Array arrays[] = {
        {"ids", ELEMENT_ID, false, 0}, {"factors", ELEMENT_ID, false, 8}, {"summands", ELEMENT_ID, false, 8},
        {"moduli", ELEMENT_ID, false, 8}, {"out", ELEMENT_FLOAT32, true, 0}};
    PyObject *objects[6], *result = NULL;
    ec_hash_functions functions = {0};
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    if (core_int64(objects[5], "buckets", &functions.buckets) < 0) return NULL;
    Buffer buffers[5] = {0};
    if (take(objects, arrays, 5, buffers) < 0) goto done;
    const int64_t ids = core_buffer_count(&buffers[0]);
    functions.count = core_buffer_count(&buffers[1]);
    for (int i = 2; i < 4; i++)
        if (check_count(&buffers[i], arrays[i].name, functions.count) < 0) goto done;
    const Py_buffer *out = &buffers[4].view;
    if (out->ndim != 2 || out->shape[0] != ids || out->shape[1] != functions.count) {
        PyErr_SetString(PyExc_ValueError, "out must have a row for each id, and a column for each function");
        goto done;
    }
    functions.factors = buffers[1].view.buf;
    functions.summands = buffers[2].view.buf;
    functions.moduli = buffers[3].view.buf;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_hash_ids(buffers[0].view.buf, (int32_t)buffers[0].view.itemsize, ids, &functions, out->buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, 5);
    return result;
}

/// Of a sketch, ids, and what goes with each id.
enum { SKETCH_ARRAYS = 5 };

/// Takes the arguments keys, scores, places, seed, ids and a last array.
static int take_sketch(
    PyObject *const *objects, const Array *arrays, Buffer *buffers, ec_hot_sketch *sketch, int64_t *ids) {
    PyObject *const given[SKETCH_ARRAYS] = {objects[0], objects[1], objects[2], objects[4], objects[5]};
    if (core_int64(objects[3], "seed", &sketch->seed) < 0 || take(given, arrays, SKETCH_ARRAYS, buffers) < 0) return -1;
    const int64_t slots = core_buffer_count(&buffers[0]);
    *ids = core_buffer_count(&buffers[3]);
    if (check_count(&buffers[1], "scores", slots) < 0 || check_count(&buffers[2], "places", slots) < 0) return -1;
    if (check_count(&buffers[4], arrays[4].name, *ids) < 0) return -1;
    if (slots % 4 != 0) {
        PyErr_SetString(PyExc_ValueError, "keys must have four slots for each bucket");
        return -1;
    }
    sketch->keys = buffers[0].view.buf;
    sketch->scores = buffers[1].view.buf;
    sketch->places = buffers[2].view.buf;
    sketch->buckets = slots / 4;
    return 0;
}

static PyObject *hot_sketch_places(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "hot_sketch_places", 6, 6, {"keys", "scores", "places", "seed", "ids", "out"}};
    static const Array arrays[SKETCH_ARRAYS] = {
        {"keys", ELEMENT_ID, true, 8}, {"scores", ELEMENT_FLOAT32, true, 0}, {"places", ELEMENT_INT32, true, 0},
        {"ids", ELEMENT_ID, false, 0}, {"out", ELEMENT_ID, true, 8}};
    PyObject *objects[6], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    Buffer buffers[SKETCH_ARRAYS] = {0};
    ec_hot_sketch sketch = {0};
    int64_t ids = 0;
    if (take_sketch(objects, arrays, buffers, &sketch, &ids) < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_hot_sketch_places(
        &sketch, buffers[3].view.buf, (int32_t)buffers[3].view.itemsize, ids, buffers[4].view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, SKETCH_ARRAYS);
    return result;
}

static PyObject *hot_sketch_add(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "hot_sketch_add", 6, 6, {"keys", "scores", "places", "seed", "ids", "norms"}};
    static const Array arrays[SKETCH_ARRAYS] = {
        {"keys", ELEMENT_ID, true, 8}, {"scores", ELEMENT_FLOAT32, true, 0}, {"places", ELEMENT_INT32, true, 0},
        {"ids", ELEMENT_ID, false, 0}, {"norms", ELEMENT_FLOAT32, false, 0}};
    PyObject *objects[6], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    Buffer buffers[SKETCH_ARRAYS] = {0};
    ec_hot_sketch sketch = {0};
    int64_t ids = 0;
    if (take_sketch(objects, arrays, buffers, &sketch, &ids) < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_hot_sketch_add(
        &sketch, buffers[3].view.buf, (int32_t)buffers[3].view.itemsize, ids, buffers[4].view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, SKETCH_ARRAYS);
    return result;
}

/// What says which rows are in the second of two tables, ids, and where their places go.
enum { DIVIDED_ARRAYS = 4 };

static PyObject *divided_rows_places(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "divided_rows_places", 7, 7, {"rows", "flags", "before", "ends", "shifts", "ids", "out"}};
    static const Array arrays_of_flags[DIVIDED_ARRAYS] = {
        {"flags", ELEMENT_ID, false, 8}, {"before", ELEMENT_INT32, false, 0}, {"ids", ELEMENT_ID, false, 0},
        {"out", ELEMENT_ID, true, 8}};
    static const Array arrays_of_runs[DIVIDED_ARRAYS] = {
        {"ends", ELEMENT_ID, false, 8}, {"shifts", ELEMENT_ID, false, 8}, {"ids", ELEMENT_ID, false, 0},
        {"out", ELEMENT_ID, true, 8}};
    PyObject *objects[7], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_divided_rows rows = {0};
    if (core_int64(objects[0], "rows", &rows.rows) < 0) return NULL;
    const bool has_flags = objects[1] != Py_None;
    if ((objects[2] != Py_None) != has_flags || (objects[3] == Py_None) != has_flags
        || (objects[4] == Py_None) != has_flags) {
        PyErr_SetString(PyExc_ValueError, "either flags and before must be given, or ends and shifts");
        return NULL;
    }
    PyObject *const given[DIVIDED_ARRAYS] = {objects[has_flags ? 1 : 3], objects[has_flags ? 2 : 4], objects[5], objects[6]};
    const Array *const arrays = has_flags ? arrays_of_flags : arrays_of_runs;
    Buffer buffers[DIVIDED_ARRAYS] = {0};
    if (take(given, arrays, DIVIDED_ARRAYS, buffers) < 0) goto done;
    const int64_t numbers = core_buffer_count(&buffers[0]), ids = core_buffer_count(&buffers[2]);
    if (has_flags && rows.rows > 0 && numbers != (rows.rows - 1) / 64 + 1) {
        PyErr_SetString(PyExc_ValueError, "flags must have a word for each 64 rows");
        goto done;
    }
    if (check_count(&buffers[1], arrays[1].name, numbers) < 0 || check_count(&buffers[3], "out", ids) < 0) goto done;
    if (has_flags) {
        rows.flags = buffers[0].view.buf;
        rows.before = buffers[1].view.buf;
    } else {
        rows.ends = buffers[0].view.buf;
        rows.shifts = buffers[1].view.buf;
        rows.run_count = numbers;
    }
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_divided_rows_places(
        &rows, buffers[2].view.buf, (int32_t)buffers[2].view.itemsize, ids, buffers[3].view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, DIVIDED_ARRAYS);
    return result;
}

/// Raises ValueError unless an array has the given number of axes, of these sizes.
static int check_shape(const Buffer *buffer, const char *name, int rank, const int64_t *shape) {
    const Py_buffer *view = &buffer->view;
    bool agrees = view->ndim == rank;
    for (int axis = 0; agrees && axis < rank; axis++) agrees = view->shape[axis] == shape[axis];
    if (agrees) return 0;
    PyErr_Format(PyExc_ValueError, "%s has a shape that does not go with those of the others", name);
    return -1;
}

/// Takes left (n, d0, rank), middle (slices, rank, d1, rank), right (n, rank, d2) and owners (n,) as the first four.
static int take_products(const Buffer *buffers, ec_train_products *products) {
    const Py_buffer *left = &buffers[0].view, *middle = &buffers[1].view, *right = &buffers[2].view;
    if (left->ndim != 3 || middle->ndim != 4 || right->ndim != 3) {
        PyErr_SetString(PyExc_ValueError, "left and right must have three axes, and middle four");
        return -1;
    }
    const int64_t rows = core_buffer_count(&buffers[3]), rank = left->shape[2];
    *products = (ec_train_products){
        .columns = {left->shape[1], middle->shape[2], right->shape[2]},
        .rank = rank,
        .left = left->buf,
        .middle = middle->buf,
        .slices = middle->shape[0],
        .right = right->buf,
    };
    const int64_t *columns = products->columns;
    if (check_shape(&buffers[0], "left", 3, (int64_t[]){rows, columns[0], rank}) < 0) return -1;
    if (check_shape(&buffers[1], "middle", 4, (int64_t[]){products->slices, rank, columns[1], rank}) < 0) return -1;
    return check_shape(&buffers[2], "right", 3, (int64_t[]){rows, rank, columns[2]});
}

/// Raises ValueError unless an array has a row of the products for each owner.
static int check_rows(const Buffer *buffer, const char *name, const Buffer *owners, const ec_train_products *products) {
    const int64_t *columns = products->columns;
    return check_shape(
        buffer, name, 4, (int64_t[]){core_buffer_count(owners), columns[0], columns[1], columns[2]});
}

static PyObject *train_products_rows(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"train_products_rows", 5, 5, {"left", "middle", "right", "owners", "out"}};
    static const Array arrays[] = {
        {"left", ELEMENT_FLOAT32, false, 0}, {"middle", ELEMENT_FLOAT32, false, 0}, {"right", ELEMENT_FLOAT32, false, 0},
        {"owners", ELEMENT_ID, false, 0}, {"out", ELEMENT_FLOAT32, true, 0}};
    PyObject *objects[5], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    Buffer buffers[5] = {0};
    ec_train_products products;
    if (take(objects, arrays, 5, buffers) < 0 || take_products(buffers, &products) < 0) goto done;
    if (check_rows(&buffers[4], "out", &buffers[3], &products) < 0) goto done;
    const Buffer *owners = &buffers[3];
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_train_products_rows(
        &products, owners->view.buf, (int32_t)owners->view.itemsize, core_buffer_count(owners), buffers[4].view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, 5);
    return result;
}

static PyObject *train_products_gradients(
    PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "train_products_gradients", 8, 8,
        {"left", "middle", "right", "owners", "slopes", "left_gradient", "middle_gradient", "right_gradient"}};
    static const Array arrays[] = {
        {"left", ELEMENT_FLOAT32, false, 0}, {"middle", ELEMENT_FLOAT32, false, 0}, {"right", ELEMENT_FLOAT32, false, 0},
        {"owners", ELEMENT_ID, false, 0}, {"slopes", ELEMENT_FLOAT32, false, 0},
        {"left_gradient", ELEMENT_FLOAT32, true, 0}, {"middle_gradient", ELEMENT_FLOAT32, true, 0},
        {"right_gradient", ELEMENT_FLOAT32, true, 0}};
    PyObject *objects[8], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    Buffer buffers[8] = {0};
    ec_train_products products;
    if (take(objects, arrays, 8, buffers) < 0 || take_products(buffers, &products) < 0) goto done;
    const Buffer *owners = &buffers[3], *middle = &buffers[6];
    const int64_t rows = core_buffer_count(owners), rank = products.rank, *columns = products.columns;
    if (check_rows(&buffers[4], "slopes", owners, &products) < 0) goto done;
    if (check_shape(&buffers[5], "left_gradient", 3, (int64_t[]){rows, columns[0], rank}) < 0) goto done;
    if (check_shape(&buffers[7], "right_gradient", 3, (int64_t[]){rows, rank, columns[2]}) < 0) goto done;
    const int64_t slices = middle->view.ndim == 4 ? middle->view.shape[0] : 0;
    if (check_shape(middle, "middle_gradient", 4, (int64_t[]){slices, rank, columns[1], rank}) < 0) goto done;
    const ec_train_gradients gradients = {
        .left = buffers[5].view.buf, .middle = middle->view.buf, .slices = slices, .right = buffers[7].view.buf};
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_train_products_gradients(
        &products, owners->view.buf, (int32_t)owners->view.itemsize, rows, buffers[4].view.buf, &gradients);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(buffers, 8);
    return result;
}

PyMethodDef core_learning_methods[] = {
    {"hash_ids", FAST(hash_ids), "Hashes of ids, into an array."},
    {"hot_sketch_places", FAST(hot_sketch_places), "Places of the rows that ids have of their own, into an array."},
    {"hot_sketch_add", FAST(hot_sketch_add), "Adds to how important ids are, in the sketch's own arrays."},
    {"divided_rows_places", FAST(divided_rows_places), "Places of ids in two tables as one, into an array."},
    {"train_products_rows", FAST(train_products_rows), "Rows of a tensor train, into an array."},
    {"train_products_gradients", FAST(train_products_gradients), "Gradients of what they are made of, into arrays."},
    {NULL, NULL, 0, NULL},
};
