#include <string.h>

#include "core.h"

int core_bind(
    const Parameters *parameters, PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **values) {
    for (int i = 0; i < parameters->count; i++) values[i] = NULL;
    if (count > parameters->count) {
        PyErr_Format(
            PyExc_TypeError, "%s() takes at most %d arguments, but %zd were given", parameters->function,
            parameters->count, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) values[i] = args[i];
    Py_ssize_t named = keywords == NULL ? 0 : PyTuple_Size(keywords);
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *keyword = PyTuple_GetItem(keywords, k);
        int place = -1;
        for (int i = 0; i < parameters->count && place < 0; i++)
            if (PyUnicode_CompareWithASCIIString(keyword, parameters->names[i]) == 0) place = i;
        if (place < 0) {
            PyErr_Format(PyExc_TypeError, "%s() has no argument '%U'", parameters->function, keyword);
            return -1;
        }
        if (values[place] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got two values for '%U'", parameters->function, keyword);
            return -1;
        }
        values[place] = args[count + k];
    }
    for (int i = 0; i < parameters->required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", parameters->function, parameters->names[i]);
            return -1;
        }
    }
    return 0;
}

int core_double(PyObject *value, const char *name, double *target) {
    *target = PyFloat_AsDouble(value);
    if (*target != -1 || !PyErr_Occurred()) return 0;
    if (PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Format(PyExc_TypeError, "%s must be a number", name);
    return -1;
}

int core_int64(PyObject *value, const char *name, int64_t *target) {
    if (value == NULL) return 0;
    PyObject *index = PyNumber_Index(value);
    if (index == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Format(PyExc_TypeError, "%s must be an integer", name);
        return -1;
    }
    long long number = PyLong_AsLongLong(index);
    Py_DECREF(index);
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s is too large", name);
        return -1;
    }
    *target = number;
    return 0;
}

int core_optional_int64(PyObject *value, const char *name, int64_t *target) {
    return value == Py_None ? 0 : core_int64(value, name, target);
}

int core_bool(PyObject *value, const char *name, int32_t *target) {
    if (value == NULL) return 0;
    int truth = PyObject_IsTrue(value);
    if (truth < 0) {
        PyErr_Format(PyExc_TypeError, "%s must be True or False", name);
        return -1;
    }
    *target = truth;
    return 0;
}

const char *core_string(PyObject *value, const char *name) {
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be a string", name);
        return NULL;
    }
    Py_ssize_t count;
    const char *text = PyUnicode_AsUTF8AndSize(value, &count);
    if (text != NULL && strlen(text) != (size_t)count) {
        PyErr_Format(PyExc_ValueError, "%s must not contain a null character", name);
        return NULL;
    }
    return text;
}

int core_choice(PyObject *value, const char *name, const char *const *names, int *target) {
    if (value == NULL) return 0;
    if (PyUnicode_Check(value)) {
        for (int i = 0; names[i] != NULL; i++) {
            if (PyUnicode_CompareWithASCIIString(value, names[i]) == 0) {
                *target = i;
                return 0;
            }
        }
    }
    char known[256] = "";
    for (int i = 0; names[i] != NULL; i++) {
        strncat(known, i == 0 ? "'" : ", '", sizeof known - strlen(known) - 1);
        strncat(known, names[i], sizeof known - strlen(known) - 1);
        strncat(known, "'", sizeof known - strlen(known) - 1);
    }
    PyErr_Format(PyExc_ValueError, "%s must be one of %s, not %R", name, known, value);
    return -1;
}
