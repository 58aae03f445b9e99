// The part of DLPack's C interface that tensors.c uses: https://dmlc.github.io/dlpack/latest/c_api.html, version 1.
#ifndef EMBEDCOMPRESS_DLPACK_H
#define EMBEDCOMPRESS_DLPACK_H

#include <stdint.h>

enum { DLPACK_MAJOR = 1, DLPACK_MINOR = 3 };

typedef struct DLPackVersion {
    uint32_t major, minor;
} DLPackVersion;

enum { DLPACK_CPU = 1 };

typedef struct DLDevice {
    int32_t device_type, device_id;
} DLDevice;

enum { DLPACK_INT = 0, DLPACK_FLOAT = 2 };

typedef struct DLDataType {
    uint8_t code, bits;
    uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    /// In elements.
    int64_t *strides;
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

/// What the capsule `__dlpack_c_exchange_api__` of a tensor type holds.
typedef struct DLPackExchangeAPI {
    struct {
        DLPackVersion version;
        struct DLPackExchangeAPI *previous;
    } header;
    int (*managed_tensor_allocator)(
        DLTensor *prototype, DLManagedTensorVersioned **out, void *error_context,
        void (*set_error)(void *error_context, const char *kind, const char *message));
    int (*managed_tensor_from_py_object_no_sync)(void *object, DLManagedTensorVersioned **out);
    /// Takes the tensor over.
    int (*managed_tensor_to_py_object_no_sync)(DLManagedTensorVersioned *tensor, void **object);
    /// Can be NULL. What it writes is the object's own, as is what its pointers point to.
    int (*dltensor_from_py_object_no_sync)(void *object, DLTensor *out);
    int (*current_work_stream)(int32_t device_type, int32_t device_id, void **stream);
} DLPackExchangeAPI;

#endif
