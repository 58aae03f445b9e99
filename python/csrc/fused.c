// Functions on rows as PyTorch, FBGEMM and TBE hold them.
#include "core.h"

static PyObject *from_fused_rows(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {
        "from_fused_rows", 6, 6, {"rows", "dimension", "bits", "layout", "scale_dtype", "row_alignment"}};
    PyObject *values[6];
    int64_t dimension = 0, bits = 0, row_alignment = 1;
    const char *scale_dtype = NULL;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    if (core_int64(values[1], "dimension", &dimension) < 0 || core_int64(values[2], "bits", &bits) < 0) return NULL;
    if (core_int64(values[5], "row_alignment", &row_alignment) < 0) return NULL;
    const char *layout = core_string(values[3], "layout");
    if (layout == NULL) return NULL;
    if (values[4] != Py_None && (scale_dtype = core_string(values[4], "scale_dtype")) == NULL) return NULL;
    Loan *loan = core_loan_new(1);
    if (loan == NULL) return NULL;
    const Py_buffer *view = &loan->lent[0].buffer.view;
    if (core_buffer(values[0], "rows", ELEMENT_UINT8, &loan->lent[0].buffer) < 0) goto failed;
    if (view->ndim != 2) {
        PyErr_Format(PyExc_ValueError, "rows must have two axes, rows and bytes, not %d", view->ndim);
        goto failed;
    }
    ec_table *table;
    ec_status status = ec_table_from_fused_rows(
        view->buf, view->shape[0], view->shape[1], dimension, bits, layout, scale_dtype, row_alignment,
        core_loan_release, loan, &table);
    if (core_check(status) < 0) goto failed;
    return core_table_wrap(table);
failed:
    core_loan_free(loan);
    return NULL;
}

static PyObject *fused_row_memory(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"fused_row_memory", 3, 3, {"table", "layout", "row_alignment"}};
    PyObject *values[3];
    int64_t row_alignment = 1, row_bytes;
    const void *data;
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    const char *layout = table == NULL ? NULL : core_string(values[1], "layout");
    if (layout == NULL || core_int64(values[2], "row_alignment", &row_alignment) < 0) return NULL;
    if (core_check(ec_table_fused_row_bytes(table, layout, row_alignment, &row_bytes, &data)) < 0) return NULL;
    PyObject *memory = data == NULL ? Py_NewRef(Py_None)
                                    : core_table_memory(values[0], data, (Py_ssize_t)(ec_table_rows(table) * row_bytes));
    return memory == NULL ? NULL : Py_BuildValue("(LN)", (long long)row_bytes, memory);
}

static PyObject *write_fused_rows(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    (void)module;
    static const Parameters parameters = {"write_fused_rows", 4, 4, {"table", "layout", "row_alignment", "out"}};
    PyObject *values[4], *result = NULL;
    int64_t row_alignment = 1, row_bytes;
    const void *data;
    Buffer out = {0};
    if (core_bind(&parameters, args, count, keywords, values) < 0) return NULL;
    ec_table *table = core_table_handle(values[0], "table");
    const char *layout = table == NULL ? NULL : core_string(values[1], "layout");
    if (layout == NULL || core_int64(values[2], "row_alignment", &row_alignment) < 0) return NULL;
    if (core_check(ec_table_fused_row_bytes(table, layout, row_alignment, &row_bytes, &data)) < 0) return NULL;
    if (core_output(values[3], "out", ELEMENT_UINT8, &out) < 0) return NULL;
    if (out.view.ndim != 2 || out.view.shape[0] != ec_table_rows(table) || out.view.shape[1] != row_bytes) {
        PyErr_Format(PyExc_ValueError, "out must have the shape (rows, %lld)", (long long)row_bytes);
        goto done;
    }
    ec_status status;
    Py_BEGIN_ALLOW_THREADS
    status = ec_table_fused_rows(table, layout, row_alignment, out.view.buf);
    Py_END_ALLOW_THREADS
    if (core_check(status) == 0) result = Py_NewRef(Py_None);
done:
    core_buffer_release(&out);
    return result;
}

PyMethodDef core_fused_methods[] = {
    {"from_fused_rows", FAST(from_fused_rows), "A table of fused rows, on their memory if the scale is last."},
    {"fused_row_memory", FAST(fused_row_memory), "Bytes of a fused row, and the table's rows if they lie so, or None."},
    {"write_fused_rows", FAST(write_fused_rows), "Write a table's rows as a layout has them into an array."},
    {NULL, NULL, 0, NULL},
};
