#include <string.h>

#include "core.h"

static PyObject *numpy_empty, *numpy_float32, *numpy_array;
/// The Python side's rules of coercion, for what can't be read as it lies: lists, tensors, frames, strided arrays.
static PyObject *coerce;

int core_buffers_init(void) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL) return -1;
    numpy_empty = PyObject_GetAttrString(numpy, "empty");
    numpy_float32 = PyObject_GetAttrString(numpy, "float32");
    numpy_array = PyObject_GetAttrString(numpy, "ndarray");
    Py_DECREF(numpy);
    return numpy_empty == NULL || numpy_float32 == NULL || numpy_array == NULL ? -1 : 0;
}

PyObject *core_set_array_hook(PyObject *module, PyObject *hook) {
    (void)module;
    PyObject *before = coerce;
    Py_INCREF(hook);
    coerce = hook;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

char core_format_letter(const Buffer *buffer) {
    const char *format = buffer->view.format;
    const uint16_t one = 1;
    char native = *(const char *)&one ? '<' : '>';
    if (format == NULL) return 'B';
    if (*format == '@' || *format == '=' || *format == native) format++;
    return format[0] != 0 && format[1] == 0 ? format[0] : 0;
}

/// The letters of the C types differ between platforms; their size does not.
static const struct {
    const char *name, *letters;
    int sizes[2];
    /// Which rule makes such elements of others; NULL where they must be given as they are.
    const char *rule;
} elements[] = {
    [ELEMENT_ID] = {"int32 or int64", "ilq", {4, 8}, "ids"},
    [ELEMENT_FLOAT32] = {"float32", "f", {4, 4}, "float32"},
    [ELEMENT_FLOAT64] = {"float64", "d", {8, 8}, NULL},
    [ELEMENT_INT32] = {"int32", "il", {4, 4}, NULL},
    [ELEMENT_UINT8] = {"uint8", "B", {1, 1}, NULL},
    [ELEMENT_ANY] = {"", "", {0, 0}, NULL},
};

PyObject *core_elements_name(const Buffer *buffer) {
    PyObject *dtype = buffer->view.obj == NULL ? NULL : PyObject_GetAttrString(buffer->view.obj, "dtype");
    if (dtype != NULL) {
        PyObject *name = PyObject_Str(dtype);
        Py_DECREF(dtype);
        return name;
    }
    PyErr_Clear();
    return PyUnicode_FromFormat("the format '%s'", buffer->view.format == NULL ? "B" : buffer->view.format);
}

int core_refuse_elements(const Buffer *buffer, const char *name, const char *wanted) {
    PyObject *found = core_elements_name(buffer);
    if (found == NULL) return -1;
    PyErr_Format(PyExc_ValueError, "%s must be %s in native byte order, not %U", name, wanted, found);
    Py_DECREF(found);
    return -1;
}

int core_check_elements(const Buffer *buffer, const char *name, Element element) {
    if (element == ELEMENT_ANY) return 0;
    const int *sizes = elements[element].sizes;
    const Py_ssize_t size = buffer->view.itemsize;
    char letter = core_format_letter(buffer);
    if (letter != 0 && strchr(elements[element].letters, letter) != NULL && (size == sizes[0] || size == sizes[1]))
        return 0;
    return core_refuse_elements(buffer, name, elements[element].name);
}

static int take(PyObject *object, const char *name, int flags, Element element, Buffer *buffer) {
    if (PyObject_GetBuffer(object, &buffer->view, PyBUF_FORMAT | PyBUF_ND | flags) < 0) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *reason = value == NULL ? NULL : PyObject_Str(value);
        PyErr_Clear();
        // Asked for without strides, an exporter refuses what is not C-contiguous.
        if (reason != NULL)
            PyErr_Format(
                PyExc_ValueError, "%s must be %sC-contiguous: %U", name, flags & PyBUF_WRITABLE ? "writable and " : "",
                reason);
        else
            PyErr_Format(PyExc_ValueError, "%s must be C-contiguous", name);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        Py_XDECREF(reason);
        return -1;
    }
    buffer->held = true;
    if (core_check_elements(buffer, name, element) < 0) {
        core_buffer_release(buffer);
        return -1;
    }
    return 0;
}

/// Whether the object's own buffer says all. Of a subclass of NumPy's array, such as one with a mask, rules know more.
static bool has_plain_buffer(PyObject *object) {
    PyTypeObject *array = (PyTypeObject *)numpy_array;
    return PyObject_CheckBuffer(object) && (Py_TYPE(object) == array || !PyObject_TypeCheck(object, array));
}

/// Takes the buffer of what the rule makes of an object.
static int take_coerced(
    PyObject *object, const char *name, const char *rule, int flags, Element element, Buffer *buffer) {
    if (coerce == NULL) {
        PyErr_Format(PyExc_TypeError, "%s must be an array", name);
        return -1;
    }
    PyObject *array = PyObject_CallFunction(coerce, "Osz", object, name, rule);
    if (array == NULL) return -1;
    int result = take(array, name, flags, element, buffer);
    Py_DECREF(array); // the view keeps it
    return result;
}

int core_buffer(PyObject *object, const char *name, Element element, Buffer *buffer) {
    buffer->held = false;
    const char *rule = elements[element].rule;
    if (has_plain_buffer(object)) {
        int result = take(object, name, 0, element, buffer);
        if (result == 0 || rule == NULL || !PyErr_ExceptionMatches(PyExc_ValueError)) return result;
        PyErr_Clear();
    }
    return take_coerced(object, name, rule, 0, element, buffer);
}

int core_output(PyObject *object, const char *name, Element element, Buffer *buffer) {
    buffer->held = false;
    if (has_plain_buffer(object)) return take(object, name, PyBUF_WRITABLE, element, buffer);
    if (PyObject_CheckBuffer(object)) return take_coerced(object, name, NULL, PyBUF_WRITABLE, element, buffer);
    PyErr_Format(PyExc_TypeError, "%s must be a writable %s array", name, elements[element].name);
    return -1;
}

void core_buffer_release(Buffer *buffer) {
    if (buffer->held) PyBuffer_Release(&buffer->view);
    buffer->held = false;
}

int64_t core_buffer_count(const Buffer *buffer) {
    return buffer->view.itemsize == 0 ? 0 : buffer->view.len / buffer->view.itemsize;
}

bool core_buffers_overlap(const Buffer *a, const Buffer *b) {
    if (!a->held || !b->held || a->view.len == 0 || b->view.len == 0) return false;
    const char *start_a = a->view.buf, *start_b = b->view.buf;
    return start_a < start_b + b->view.len && start_b < start_a + a->view.len;
}

static PyObject *make(int rank, const int64_t *shape, Buffer *buffer) {
    buffer->held = false;
    PyObject *sizes = PyTuple_New(rank);
    if (sizes == NULL) return NULL;
    for (int i = 0; i < rank; i++) {
        PyObject *size = PyLong_FromLongLong(shape[i]);
        if (size == NULL || PyTuple_SetItem(sizes, i, size) < 0) {
            Py_DECREF(sizes);
            return NULL;
        }
    }
    PyObject *array = PyObject_CallFunctionObjArgs(numpy_empty, sizes, numpy_float32, NULL);
    Py_DECREF(sizes);
    if (array != NULL && take(array, "out", PyBUF_WRITABLE, ELEMENT_FLOAT32, buffer) < 0) Py_CLEAR(array);
    return array;
}

const Arrays core_arrays = {core_buffer, make};

PyObject *core_prepare_output(
    const Arrays *arrays, PyObject *given, int rank, const int64_t *shape, Buffer *buffer) {
    if (given == NULL || given == Py_None) return arrays->make(rank, shape, buffer);
    if (core_output(given, "out", ELEMENT_FLOAT32, buffer) < 0) return NULL;
    bool fits = buffer->view.ndim == rank;
    for (int i = 0; fits && i < rank; i++) fits = buffer->view.shape[i] == shape[i];
    if (!fits) {
        core_buffer_release(buffer);
        char text[256] = "";
        size_t used = 0;
        for (int i = 0; i < rank && used < sizeof text; i++) {
            const char *format = i == 0 ? "%lld" : ", %lld";
            used += (size_t)PyOS_snprintf(text + used, sizeof text - used, format, (long long)shape[i]);
        }
        PyErr_Format(PyExc_ValueError, "out must have the shape (%s)", text);
        return NULL;
    }
    Py_INCREF(given);
    return given;
}

int core_check_overlap(const Buffer *output, const char *output_name, const Buffer *input, const char *name) {
    if (!core_buffers_overlap(output, input)) return 0;
    PyErr_Format(PyExc_ValueError, "%s must not share memory with %s", output_name, name);
    return -1;
}
