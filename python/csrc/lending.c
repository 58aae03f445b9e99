// Arrays that are lent to Swift: their element types, and how long they are held.
#include <stdlib.h>
#include <string.h>

#include "core.h"

/// The element types, in the order of ec_dtype: the only table of them on this side of the ABI.
static const struct {
    const char *name;
    int size;
    /// Letters of the struct module. bf16 has none and travels as its 16 bits, as an unsigned integer does; the types that
    /// are not those of arrays have none at all.
    const char *letters;
    /// What NumPy calls the type that carries it.
    const char *numpy;
} dtypes[] = {
    [EC_U8] = {"u8", 1, "B", "u1"},      [EC_I8] = {"i8", 1, "b", "i1"},     [EC_U16] = {"u16", 2, "H", "u2"},
    [EC_I16] = {"i16", 2, "h", "i2"},    [EC_F16] = {"f16", 2, "e", "f2"},   [EC_BF16] = {"bf16", 2, "H", "u2"},
    [EC_U32] = {"u32", 4, "IL", "u4"},   [EC_I32] = {"i32", 4, "il", "i4"},  [EC_F32] = {"f32", 4, "f", "f4"},
    [EC_U64] = {"u64", 8, "QL", "u8"},   [EC_I64] = {"i64", 8, "ql", "i8"},  [EC_F64] = {"f64", 8, "d", "f8"},
    // These are of tensors in files, which travel as bytes; arrays have none of them.
    [EC_BOOL] = {"bool", 1, "", "?"},
    [EC_C64] = {"c64", 8, "", "c8"},
    [EC_F8_E4M3] = {"f8_e4m3", 1, "", "u1"},
    [EC_F8_E5M2] = {"f8_e5m2", 1, "", "u1"},
    [EC_F8_E4M3FNUZ] = {"f8_e4m3fnuz", 1, "", "u1"},
    [EC_F8_E5M2FNUZ] = {"f8_e5m2fnuz", 1, "", "u1"},
    [EC_F8_E8M0] = {"f8_e8m0", 1, "", "u1"},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

const char *core_dtype_name(ec_dtype type) { return dtypes[type].name; }
int core_dtype_size(ec_dtype type) { return dtypes[type].size; }

int core_dtype(PyObject *value, const char *name, ec_dtype *target) {
    const char *names[DTYPES + 1] = {NULL};
    int type = 0;
    for (int i = 0; i < DTYPES; i++) names[i] = dtypes[i].name;
    if (core_choice(value, name, names, &type) < 0) return -1;
    *target = (ec_dtype)type;
    return 0;
}

PyObject *core_dtypes(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *result = PyDict_New();
    for (int i = 0; result != NULL && i < DTYPES; i++) {
        PyObject *numpy = PyUnicode_FromString(dtypes[i].numpy);
        if (numpy == NULL || PyDict_SetItemString(result, dtypes[i].name, numpy) < 0) Py_CLEAR(result);
        Py_XDECREF(numpy);
    }
    return result;
}

static bool holds(const Buffer *buffer, ec_dtype type) {
    char letter = core_format_letter(buffer);
    return letter != 0 && strchr(dtypes[type].letters, letter) != NULL && buffer->view.itemsize == dtypes[type].size;
}

int core_check_dtype(const Buffer *buffer, const char *name, ec_dtype type) {
    if (holds(buffer, type)) return 0;
    return core_refuse_elements(buffer, name, dtypes[type].name);
}

/// The type of the elements of a buffer. What 16 bits of an unsigned integer carry, nobody says here: they are u16.
static int find_dtype(const Buffer *buffer, const char *name, ec_dtype *type) {
    for (int i = 0; i < DTYPES; i++) {
        if (!holds(buffer, (ec_dtype)i)) continue;
        *type = (ec_dtype)i;
        return 0;
    }
    return core_refuse_elements(buffer, name, "integers or floats");
}

// MARK: - Loans

/// The head of the list; the GIL guards it.
static Loan *loans;

Loan *core_loan_new(int64_t count) {
    Loan *loan = calloc(1, sizeof(Loan) + (size_t)count * sizeof(LentArray));
    if (loan == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    loan->count = count;
    loan->arrays = PyMem_Calloc((size_t)count + 1, sizeof *loan->arrays);
    if (loan->arrays == NULL) {
        free(loan);
        PyErr_NoMemory();
        return NULL;
    }
    loan->after = loans;
    if (loans != NULL) loans->before = loan;
    loans = loan;
    return loan;
}

void core_loan_free(Loan *loan) {
    if (loan == NULL) return;
    if (loan->before != NULL)
        loan->before->after = loan->after;
    else
        loans = loan->after;
    if (loan->after != NULL) loan->after->before = loan->before;
    for (int64_t i = 0; i < loan->count; i++) core_buffer_release(&loan->lent[i].buffer);
    PyMem_Free(loan->arrays);
    free(loan);
}

void core_loan_release(void *context) {
    // Called by whichever thread drops the last reference, with or without the GIL.
    if (!core_visit_python()) return; // the process ends, and its memory with it
    PyGILState_STATE state = PyGILState_Ensure();
    core_loan_free(context);
    PyGILState_Release(state);
    core_leave_python();
}

PyObject *core_is_read_only(PyObject *module, PyObject *memory) {
    (void)module;
    Buffer buffer;
    if (core_buffer(memory, "memory", ELEMENT_ANY, &buffer) < 0) return NULL;
    bool found = false;
    for (Loan *loan = loans; loan != NULL && !found; loan = loan->after)
        for (int64_t i = 0; i < loan->count && !found; i++)
            found = loan->lent[i].buffer.view.readonly && core_buffers_overlap(&loan->lent[i].buffer, &buffer);
    core_buffer_release(&buffer);
    return PyBool_FromLong(found);
}

int core_loan_add(Loan *loan, int64_t index, PyObject *name, PyObject *dtype, PyObject *values) {
    LentArray *lent = &loan->lent[index];
    ec_array *array = &loan->arrays[index];
    ec_dtype type = EC_U8;
    array->name = core_string(name, "the name of an array");
    if (array->name == NULL || (dtype != NULL && core_dtype(dtype, "dtype", &type) < 0)) return -1;
    if (core_buffer(values, array->name, ELEMENT_ANY, &lent->buffer) < 0) return -1;
    const Py_buffer *view = &lent->buffer.view;
    if (dtype != NULL ? core_check_dtype(&lent->buffer, array->name, type) < 0
                      : find_dtype(&lent->buffer, array->name, &type) < 0)
        return -1;
    if (view->ndim > CORE_MAXIMUM_RANK) {
        PyErr_Format(PyExc_ValueError, "array '%s' has more than %d axes", array->name, CORE_MAXIMUM_RANK);
        return -1;
    }
    for (int i = 0; i < view->ndim; i++) lent->shape[i] = view->shape[i];
    array->dtype = type;
    array->rank = view->ndim;
    array->shape = lent->shape;
    array->data = view->buf;
    return 0;
}
