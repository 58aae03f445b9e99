// Tables that are trained in the form in which they are stored, in arrays of a caller's.
#include "core.h"

enum { MOST_TABLES = 2, TABLE_BUFFERS = 4 };

static const char *const buffer_names[TABLE_BUFFERS] = {"elements", "scales", "element_state", "row_state"};

/// Tables as a caller gives them, and the buffers that each is in, in the order of their names.
typedef struct TrainedTables {
    ec_trained_rows tables[MOST_TABLES];
    Buffer buffers[MOST_TABLES][TABLE_BUFFERS];
    int count;
} TrainedTables;

static const char *const roundings[] = {"nearest", "stochastic", NULL};

static void release(TrainedTables *tables) {
    for (int i = 0; i < MOST_TABLES; i++)
        for (int j = 0; j < TABLE_BUFFERS; j++) core_buffer_release(&tables->buffers[i][j]);
}

/// Takes an array of `count` numbers; None gives a null pointer.
static int take_numbers(PyObject *object, const char *name, int64_t count, Buffer *buffer, float **numbers) {
    *numbers = NULL;
    if (object == Py_None) return 0;
    if (core_output(object, name, ELEMENT_FLOAT32, buffer) < 0) return -1;
    if (core_buffer_count(buffer) != count) {
        PyErr_Format(PyExc_ValueError, "%s must have %lld numbers", name, (long long)count);
        return -1;
    }
    *numbers = buffer->view.buf;
    return 0;
}

/// Takes a tuple (format, dimension, elements, scales, element_state, row_state); elements are uint8, (rows, bytes of a row).
static int take_table(PyObject *object, ec_trained_rows *table, Buffer *buffers) {
    static const char *const formats[] = {"f32", "bf16", "f16", "int16", "int8", "int4", NULL};
    static const int bits[] = {32, 16, 16, 16, 8, 4};
    if (!PyTuple_Check(object) || PyTuple_Size(object) != 6) {
        PyErr_SetString(PyExc_TypeError, "table must be a tuple of six");
        return -1;
    }
    int format = 0;
    int64_t dimension = 0;
    if (core_choice(PyTuple_GetItem(object, 0), "format", formats, &format) < 0) return -1;
    if (core_int64(PyTuple_GetItem(object, 1), "dimension", &dimension) < 0) return -1;
    if (core_output(PyTuple_GetItem(object, 2), "elements", ELEMENT_UINT8, &buffers[0]) < 0) return -1;
    const Py_ssize_t *shape = buffers[0].view.shape;
    if (dimension < 1 || dimension > INT32_MAX || buffers[0].view.ndim != 2
        || shape[1] != (dimension * bits[format] + 7) / 8) {
        PyErr_SetString(PyExc_ValueError, "elements must be (rows, bytes of a row of that dimension)");
        return -1;
    }
    table->format = (ec_row_format)format;
    table->rows = shape[0];
    table->dimension = dimension;
    table->elements = buffers[0].view.buf;
    float **const numbers[] = {&table->scales, &table->element_state, &table->row_state};
    for (int i = 0; i < 3; i++) {
        // Elements in memory are at least half a byte each, so that this overflows for none.
        const int64_t count = i == 1 ? shape[0] * dimension : shape[0];
        if (take_numbers(PyTuple_GetItem(object, 3 + i), buffer_names[1 + i], count, &buffers[1 + i], numbers[i]) < 0)
            return -1;
    }
    return 0;
}

/// Takes a table, or a tuple of two where `most` is 2.
static int take(PyObject *object, int most, TrainedTables *tables) {
    const bool is_pair = most == 2 && PyTuple_Check(object) && PyTuple_Size(object) == 2;
    tables->count = is_pair ? 2 : 1;
    for (int i = 0; i < tables->count; i++) {
        PyObject *const table = is_pair ? PyTuple_GetItem(object, i) : object;
        if (take_table(table, &tables->tables[i], tables->buffers[i]) < 0) return -1;
    }
    return 0;
}

/// Raises ValueError if an array shares memory with what the tables are in.
static int check_overlaps(const TrainedTables *tables, const Buffer *array, const char *name) {
    for (int i = 0; i < tables->count; i++)
        for (int j = 0; j < TABLE_BUFFERS; j++)
            if (core_check_overlap(&tables->buffers[i][j], buffer_names[j], array, name) < 0) return -1;
    return 0;
}

/// Raises ValueError unless an array has a row of the table's dimension for each id, or each bag.
static int check_rows(
    const Buffer *array, const char *name, int64_t count, const char *what, const TrainedTables *tables) {
    const Py_buffer *view = &array->view;
    if (view->ndim == 2 && view->shape[0] == count && view->shape[1] == tables->tables[0].dimension) return 0;
    PyErr_Format(PyExc_ValueError, "%s must have a row of the table's dimension for each %s", name, what);
    return -1;
}

static PyObject *trained_rows_gather(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"trained_rows_gather", 3, 3, {"table", "ids", "out"}};
    PyObject *objects[3], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    TrainedTables tables = {0};
    Buffer ids = {0}, out = {0};
    if (take(objects[0], 2, &tables) < 0) goto done;
    if (core_buffer(objects[1], "ids", ELEMENT_ID, &ids) < 0) goto done;
    if (core_output(objects[2], "out", ELEMENT_FLOAT32, &out) < 0) goto done;
    const int64_t total = core_buffer_count(&ids);
    if (check_rows(&out, "out", total, "id", &tables) < 0) goto done;
    if (check_overlaps(&tables, &out, "out") < 0 || core_check_overlap(&out, "out", &ids, "ids") < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_trained_tables_gather(tables.tables, tables.count, ids.view.buf, (int32_t)ids.view.itemsize, total, out.view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    core_buffer_release(&ids);
    core_buffer_release(&out);
    return result;
}

/// Takes what a step's optimizer is: nine objects from its name to the number of the step.
static int take_step(PyObject *const *objects, ec_row_step *step) {
    static const char *const optimizers[] = {"sgd", "adagrad", "rowwise_adagrad", "rowwise_adam", NULL};
    int optimizer = 0, rounding = 0;
    static const char *const names[] = {"learning_rate", "eps", "beta1", "beta2", "weight_decay"};
    double *const numbers[] = {&step->learning_rate, &step->eps, &step->beta1, &step->beta2, &step->weight_decay};
    if (core_choice(objects[0], "optimizer", optimizers, &optimizer) < 0) return -1;
    if (core_choice(objects[1], "rounding", roundings, &rounding) < 0) return -1;
    for (int i = 0; i < 5; i++) {
        if (core_double(objects[2 + i], names[i], numbers[i]) < 0) return -1;
    }
    step->optimizer = (ec_optimizer)optimizer;
    step->rounding = (ec_rounding)rounding;
    if (core_int64(objects[7], "seed", &step->seed) < 0) return -1;
    return core_int64(objects[8], "step", &step->step);
}

/// Buffers of a call with bags; those that are not held were not given.
typedef struct BagBuffers {
    Buffer ids, offsets, weights;
} BagBuffers;

static void release_bags(BagBuffers *buffers) {
    core_buffer_release(&buffers->ids);
    core_buffer_release(&buffers->offsets);
    core_buffer_release(&buffers->weights);
}

/// Takes a tuple (ids, offsets, mode, weights): each bag has the ids from its offset to the next one's; weights or None.
static int take_bags(PyObject *object, BagBuffers *buffers, ec_bags *bags) {
    static const char *const modes[] = {"sum", "mean", NULL};
    if (!PyTuple_Check(object) || PyTuple_Size(object) != 4) {
        PyErr_SetString(PyExc_TypeError, "bags must be a tuple of four");
        return -1;
    }
    int mode = EC_SUM;
    if (core_buffer(PyTuple_GetItem(object, 0), "ids", ELEMENT_ID, &buffers->ids) < 0) return -1;
    if (core_buffer(PyTuple_GetItem(object, 1), "offsets", ELEMENT_ID, &buffers->offsets) < 0) return -1;
    if (core_choice(PyTuple_GetItem(object, 2), "mode", modes, &mode) < 0) return -1;
    PyObject *weights = PyTuple_GetItem(object, 3);
    const int64_t total = core_buffer_count(&buffers->ids);
    if (weights != Py_None) {
        if (core_buffer(weights, "weights", ELEMENT_FLOAT32, &buffers->weights) < 0) return -1;
        if (core_buffer_count(&buffers->weights) != total) {
            PyErr_SetString(PyExc_ValueError, "weights must have a number for each id");
            return -1;
        }
    }
    // An empty array may have no memory; its weights still say which mode is meant.
    static const float none = 0;
    *bags = (ec_bags){
        .ids = buffers->ids.view.buf,
        .offsets = buffers->offsets.view.buf,
        .weights = weights == Py_None ? NULL : buffers->weights.view.buf == NULL ? &none : buffers->weights.view.buf,
        .id_count = total,
        .offset_count = core_buffer_count(&buffers->offsets),
        .padding_id = -1,
        .id_bytes = (int32_t)buffers->ids.view.itemsize,
        .offset_bytes = (int32_t)buffers->offsets.view.itemsize,
        .mode = (ec_mode)mode,
        .on_invalid = EC_RAISE,
    };
    return 0;
}

static PyObject *trained_rows_pool(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"trained_rows_pool", 3, 3, {"table", "bags", "out"}};
    PyObject *objects[3], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    TrainedTables tables = {0};
    BagBuffers buffers = {0};
    Buffer out = {0};
    ec_bags bags;
    if (take(objects[0], 2, &tables) < 0 || take_bags(objects[1], &buffers, &bags) < 0) goto done;
    if (core_output(objects[2], "out", ELEMENT_FLOAT32, &out) < 0) goto done;
    if (check_rows(&out, "out", bags.offset_count, "bag", &tables) < 0 || check_overlaps(&tables, &out, "out") < 0) goto done;
    if (core_check_overlap(&out, "out", &buffers.ids, "ids") < 0
        || core_check_overlap(&out, "out", &buffers.offsets, "offsets") < 0
        || core_check_overlap(&out, "out", &buffers.weights, "weights") < 0)
        goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_trained_tables_pool(tables.tables, tables.count, &bags, out.view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    release_bags(&buffers);
    core_buffer_release(&out);
    return result;
}

static PyObject *trained_rows_step_bags(
    PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "trained_rows_step_bags", 12, 12,
        {"table", "bags", "gradients", "optimizer", "rounding", "learning_rate", "eps", "beta1", "beta2", "weight_decay",
         "seed", "step"}};
    PyObject *objects[12], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_row_step step = {0};
    if (take_step(objects + 3, &step) < 0) return NULL;
    TrainedTables tables = {0};
    BagBuffers buffers = {0};
    Buffer gradients = {0};
    ec_bags bags;
    if (take(objects[0], 2, &tables) < 0 || take_bags(objects[1], &buffers, &bags) < 0) goto done;
    if (core_buffer(objects[2], "gradients", ELEMENT_FLOAT32, &gradients) < 0) goto done;
    if (check_rows(&gradients, "gradients", bags.offset_count, "bag", &tables) < 0) goto done;
    if (check_overlaps(&tables, &gradients, "gradients") < 0 || check_overlaps(&tables, &buffers.ids, "ids") < 0
        || check_overlaps(&tables, &buffers.offsets, "offsets") < 0
        || check_overlaps(&tables, &buffers.weights, "weights") < 0)
        goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_trained_tables_step_bags(tables.tables, tables.count, &bags, gradients.view.buf, &step);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    release_bags(&buffers);
    core_buffer_release(&gradients);
    return result;
}

static PyObject *trained_rows_step(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "trained_rows_step", 12, 12,
        {"table", "ids", "gradients", "optimizer", "rounding", "learning_rate", "eps", "beta1", "beta2", "weight_decay",
         "seed", "step"}};
    PyObject *objects[12], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_row_step step = {0};
    if (take_step(objects + 3, &step) < 0) return NULL;
    TrainedTables tables = {0};
    Buffer ids = {0}, gradients = {0};
    if (take(objects[0], 2, &tables) < 0) goto done;
    if (core_buffer(objects[1], "ids", ELEMENT_ID, &ids) < 0) goto done;
    if (core_buffer(objects[2], "gradients", ELEMENT_FLOAT32, &gradients) < 0) goto done;
    const int64_t total = core_buffer_count(&ids);
    if (check_rows(&gradients, "gradients", total, "id", &tables) < 0) goto done;
    if (check_overlaps(&tables, &gradients, "gradients") < 0 || check_overlaps(&tables, &ids, "ids") < 0) goto done;
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_trained_tables_step(
        tables.tables, tables.count, ids.view.buf, (int32_t)ids.view.itemsize, total, gradients.view.buf, &step);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    core_buffer_release(&ids);
    core_buffer_release(&gradients);
    return result;
}

static PyObject *trained_rows_write(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "trained_rows_write", 8, 8, {"table", "ids", "values", "slopes", "rounding", "scale_rate", "seed", "step"}};
    PyObject *objects[8], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_row_rounding how = {0};
    int rounding = 0;
    if (core_choice(objects[4], "rounding", roundings, &rounding) < 0) return NULL;
    if (core_double(objects[5], "scale_rate", &how.scale_rate) < 0) return NULL;
    if (core_int64(objects[6], "seed", &how.seed) < 0) return NULL;
    if (core_int64(objects[7], "step", &how.step) < 0) return NULL;
    how.rounding = (ec_rounding)rounding;
    TrainedTables tables = {0};
    Buffer ids = {0}, values = {0}, slopes = {0};
    if (take(objects[0], 1, &tables) < 0) goto done;
    if (core_buffer(objects[1], "ids", ELEMENT_ID, &ids) < 0) goto done;
    if (core_buffer(objects[2], "values", ELEMENT_FLOAT32, &values) < 0) goto done;
    const int64_t total = core_buffer_count(&ids);
    if (check_rows(&values, "values", total, "id", &tables) < 0) goto done;
    if (check_overlaps(&tables, &values, "values") < 0 || check_overlaps(&tables, &ids, "ids") < 0) goto done;
    if (objects[3] != Py_None) {
        if (core_buffer(objects[3], "slopes", ELEMENT_FLOAT32, &slopes) < 0) goto done;
        if (check_rows(&slopes, "slopes", total, "id", &tables) < 0 || check_overlaps(&tables, &slopes, "slopes") < 0) goto done;
    }
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_trained_rows_write(
        tables.tables, ids.view.buf, (int32_t)ids.view.itemsize, total, values.view.buf, slopes.view.buf, &how);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    core_buffer_release(&ids);
    core_buffer_release(&values);
    core_buffer_release(&slopes);
    return result;
}

/// Takes an array of three axes, or four, with numbers of each of `rows` rows; the last sizes are the caller's to check.
static int take_parts(PyObject *object, const char *name, bool is_output, int axes, int64_t rows, Buffer *buffer) {
    const int taken = is_output ? core_output(object, name, ELEMENT_FLOAT32, buffer)
                                : core_buffer(object, name, ELEMENT_FLOAT32, buffer);
    if (taken < 0) return -1;
    if (buffer->view.ndim == axes && buffer->view.shape[0] == rows) return 0;
    PyErr_Format(PyExc_ValueError, "%s must have %d axes, the first one of owners", name, axes);
    return -1;
}

static int check_sizes(const Buffer *buffer, const char *name, int64_t first, int64_t second, int64_t third) {
    const Py_ssize_t *shape = buffer->view.shape;
    if (shape[1] == first && shape[2] == second && (buffer->view.ndim == 3 || shape[3] == third)) return 0;
    PyErr_Format(PyExc_ValueError, "%s has a shape that does not go with those of the others", name);
    return -1;
}

/// The arrays of a step of products: their names, their axes, and whether they are written to.
enum { STEP_PARTS = 5 };

static PyObject *train_products_step(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "train_products_step", 16, 16,
        {"table", "owners", "left", "right", "slopes", "left_gradient", "right_gradient", "optimizer", "rounding",
         "learning_rate", "eps", "beta1", "beta2", "weight_decay", "seed", "step"}};
    static const char *const names[STEP_PARTS] = {"left", "right", "slopes", "left_gradient", "right_gradient"};
    static const int axes[STEP_PARTS] = {3, 3, 4, 3, 3};
    PyObject *objects[16], *result = NULL;
    if (core_bind(&parameters, args, count, keywords, objects) < 0) return NULL;
    ec_row_step step = {0};
    if (take_step(objects + 7, &step) < 0) return NULL;
    TrainedTables tables = {0};
    Buffer owners = {0}, parts[STEP_PARTS] = {0};
    if (take(objects[0], 1, &tables) < 0) goto done;
    if (core_buffer(objects[1], "owners", ELEMENT_ID, &owners) < 0) goto done;
    if (check_overlaps(&tables, &owners, "owners") < 0) goto done;
    const int64_t total = core_buffer_count(&owners);
    for (int i = 0; i < STEP_PARTS; i++) {
        if (take_parts(objects[2 + i], names[i], i > 2, axes[i], total, &parts[i]) < 0) goto done;
        if (check_overlaps(&tables, &parts[i], names[i]) < 0) goto done;
        if (i > 2 && core_check_overlap(&parts[i], names[i], &owners, "owners") < 0) goto done;
        for (int j = 0; i > 2 && j < i; j++)
            if (core_check_overlap(&parts[i], names[i], &parts[j], names[j]) < 0) goto done;
    }
    const int64_t outer = parts[0].view.shape[1], rank = parts[0].view.shape[2], inner = parts[1].view.shape[2];
    const int64_t square = rank * rank, width = square == 0 ? 0 : tables.tables[0].dimension / square;
    if (width * square != tables.tables[0].dimension || tables.tables[0].format != EC_ROWS_F32) {
        PyErr_SetString(PyExc_ValueError, "the table must have rank * columns * rank numbers of f32 in a row");
        goto done;
    }
    if (check_sizes(&parts[1], "right", rank, inner, 0) < 0) goto done;
    if (check_sizes(&parts[2], "slopes", outer, width, inner) < 0) goto done;
    if (check_sizes(&parts[3], "left_gradient", outer, rank, 0) < 0) goto done;
    if (check_sizes(&parts[4], "right_gradient", rank, inner, 0) < 0) goto done;
    const ec_train_products products = {
        .columns = {outer, width, inner},
        .rank = rank,
        .left = parts[0].view.buf,
        .middle = tables.tables[0].elements,
        .slices = tables.tables[0].rows,
        .right = parts[1].view.buf,
    };
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_train_products_step(
        &products, owners.view.buf, (int32_t)owners.view.itemsize, total, parts[2].view.buf, tables.tables, &step,
        parts[3].view.buf, parts[4].view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    release(&tables);
    core_buffer_release(&owners);
    for (int i = 0; i < STEP_PARTS; i++) core_buffer_release(&parts[i]);
    return result;
}

PyMethodDef core_training_methods[] = {
    {"trained_rows_gather", FAST(trained_rows_gather), "Rows of a table that is trained, into an array."},
    {"trained_rows_step", FAST(trained_rows_step), "A step of the rows of ids, in the table's own arrays."},
    {"trained_rows_pool", FAST(trained_rows_pool), "Sums or means of rows of such a table, into an array."},
    {"trained_rows_step_bags", FAST(trained_rows_step_bags), "A step of the rows of bags, in the table's own arrays."},
    {"trained_rows_write", FAST(trained_rows_write), "Rows that are rounded and written, with scales that learn."},
    {"train_products_step", FAST(train_products_step),
     "Gradients of products of a tensor train, into arrays, and a step of the rows that are its middle core."},
    {NULL, NULL, 0, NULL},
};
