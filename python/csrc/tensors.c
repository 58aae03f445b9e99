// Tensors in place of arrays: read where they lie and made for results through DLPack's C exchange API, which a
// framework's tensor type offers. There is nothing to link against.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core.h"
#include "dlpack.h"

static PyTypeObject *tensor_type;
static const DLPackExchangeAPI *api;
static PyObject *contiguous;

PyObject *core_set_tensor_type(PyObject *module, PyObject *type) {
    (void)module;
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "a tensor type must be a type");
        return NULL;
    }
    PyObject *capsule = PyObject_GetAttrString(type, "__dlpack_c_exchange_api__");
    if (capsule == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return NULL;
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    // The functions stay where they are as long as the process lives.
    const DLPackExchangeAPI *found = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    Py_DECREF(capsule);
    if (found == NULL) return NULL;
    while (found != NULL && found->header.version.major != DLPACK_MAJOR) found = found->header.previous;
    if (found == NULL || found->dltensor_from_py_object_no_sync == NULL) Py_RETURN_FALSE;
    if (contiguous == NULL && (contiguous = PyUnicode_InternFromString("contiguous")) == NULL) return NULL;
    Py_INCREF(type);
    Py_XDECREF((PyObject *)tensor_type);
    tensor_type = (PyTypeObject *)type;
    api = found;
    Py_RETURN_TRUE;
}

static bool is_contiguous(const DLTensor *tensor) {
    if (tensor->strides == NULL) return true;
    int64_t stride = 1;
    bool follows = true;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->shape[i] == 0) return true;
        if (tensor->shape[i] != 1 && tensor->strides[i] != stride) follows = false;
        stride *= tensor->shape[i];
    }
    return follows;
}

static int64_t element_count(const DLTensor *tensor) {
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; i++) count *= tensor->shape[i];
    return count;
}

/// Raises RuntimeError for what has no memory that can be read: tensors elsewhere, sparse ones, wrappers of others.
static int describe(PyObject *object, const char *name, DLTensor *tensor) {
    if (api->dltensor_from_py_object_no_sync(object, tensor) == 0 && tensor->device.device_type == DLPACK_CPU
        && (tensor->data != NULL || element_count(tensor) == 0))
        return 0;
    PyErr_Clear();
    PyErr_Format(PyExc_RuntimeError, "%s must be a strided tensor on the CPU", name);
    return -1;
}

static const char *format_of(DLDataType type) {
    if (type.lanes != 1) return NULL;
    if (type.code == DLPACK_INT) return type.bits == 64 ? "q" : type.bits == 32 ? "i" : NULL;
    return type.code == DLPACK_FLOAT && type.bits == 32 ? "f" : NULL;
}

static int take(PyObject *object, const char *name, Element element, Buffer *buffer) {
    buffer->held = false;
    if (tensor_type == NULL || !PyObject_TypeCheck(object, tensor_type)) {
        PyErr_Format(PyExc_TypeError, "%s must be a tensor", name);
        return -1;
    }
    DLTensor tensor;
    if (describe(object, name, &tensor) < 0) return -1;
    PyObject *owner;
    if (is_contiguous(&tensor)) {
        Py_INCREF(object);
        owner = object;
    } else {
        owner = PyObject_CallMethodObjArgs(object, contiguous, NULL);
        if (owner == NULL) return -1;
        if (describe(owner, name, &tensor) < 0) {
            Py_DECREF(owner);
            return -1;
        }
    }
    Py_ssize_t itemsize = tensor.dtype.bits / 8;
    buffer->view = (Py_buffer){
        .buf = (char *)tensor.data + tensor.byte_offset,
        .obj = owner,
        .len = element_count(&tensor) * itemsize,
        .itemsize = itemsize,
        .ndim = tensor.ndim,
        .format = (char *)format_of(tensor.dtype),
        .shape = tensor.shape,
    };
    buffer->held = true;
    if (core_check_elements(buffer, name, element) == 0) return 0;
    core_buffer_release(buffer);
    return -1;
}

// MARK: - Results

enum {
    ALIGNMENT = 64,
    /// From here on NumPy's arrays ask for huge pages, and so do these.
    HUGE_BYTES = 1 << 22,
    PAGE_BYTES = 1 << 12,
};

/// A tensor, its shape and strides, and then its values, in one piece of memory.
typedef struct Result {
    DLManagedTensorVersioned tensor;
    int64_t sizes[];
} Result;

/// May be called without the GIL.
static void free_result(DLManagedTensorVersioned *self) {
    free(self);
}

static void ask_for_huge_pages(char *values, size_t bytes) {
#ifdef MADV_HUGEPAGE
    size_t skipped = PAGE_BYTES - (uintptr_t)values % PAGE_BYTES;
    if (bytes >= HUGE_BYTES) madvise(values + skipped, bytes - skipped, MADV_HUGEPAGE);
#else
    (void)values, (void)bytes;
#endif
}

static PyObject *make(int rank, const int64_t *shape, Buffer *buffer) {
    buffer->held = false;
    size_t header = sizeof(Result) + 2 * (size_t)rank * sizeof(int64_t);
    int64_t bytes = sizeof(float), total;
    bool fits = true;
    for (int i = 0; i < rank; i++) fits = fits && !__builtin_mul_overflow(bytes, shape[i], &bytes);
    fits = fits && !__builtin_add_overflow(bytes, (int64_t)(header + ALIGNMENT), &total);
    Result *result = fits ? malloc((size_t)total) : NULL;
    if (result == NULL) return PyErr_NoMemory();
    char *values = (char *)(((uintptr_t)result + header + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    ask_for_huge_pages(values, (size_t)bytes);
    int64_t *strides = result->sizes + rank, stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        result->sizes[i] = shape[i];
        strides[i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
    result->tensor = (DLManagedTensorVersioned){
        .version = {DLPACK_MAJOR, DLPACK_MINOR},
        .deleter = free_result,
        .dl_tensor = {
            .data = values,
            .device = {.device_type = DLPACK_CPU},
            .ndim = rank,
            .dtype = {DLPACK_FLOAT, 32, 1},
            .shape = result->sizes,
            .strides = strides,
        },
    };
    void *object;
    if (api->managed_tensor_to_py_object_no_sync(&result->tensor, &object) < 0) return NULL;
    buffer->view = (Py_buffer){.buf = values, .len = bytes, .itemsize = sizeof(float), .ndim = rank, .format = "f"};
    buffer->held = true;
    return object;
}

const Arrays core_tensors = {take, make};
