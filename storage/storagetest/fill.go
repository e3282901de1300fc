package storagetest

import (
	"crypto/rand"
	"fmt"
	"reflect"
	"time"
)

// Fill sets every field of the record that pointer points to, and of the records
// in it, to a value that is not the zero value and differs from call to call. A
// field added later is filled too; one of a type it does not know panics.
func Fill(pointer any) { fill(reflect.ValueOf(pointer).Elem(), "") }

// odd is text that a careless engine bends: quotes, a backslash, two encodings
// of one letter, an emoji, line ends, the empty, null and array forms of JSON
// and SQL.
const odd = "' \" \\ % _ é e\u0301 🗝 \u2028 \r\n\t {} [] NULL $1 ? "

func fill(v reflect.Value, name string) {
	switch value := v.Addr().Interface().(type) {
	case *time.Time:
		*value = epoch.Add(time.Duration(randomInt(1e9)) * time.Microsecond)
		return
	case *time.Duration:
		*value = time.Duration(1 + randomInt(1e12))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name + odd + rand.Text())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + randomInt(1e15))
	case reflect.Uint8:
		v.SetUint(uint64(1 + randomInt(255)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		fillElements(v, name)
	case reflect.Array:
		fillElements(v, name)
	default:
		panic(fmt.Sprintf("storagetest cannot fill %s of type %s", name, v.Type()))
	}
}

func fillElements(v reflect.Value, name string) {
	for i := range v.Len() {
		fill(v.Index(i), name)
	}
}

// randomInt returns a number from 0 to below n.
func randomInt(n int64) int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	var x uint64
	for _, digit := range b {
		x = x<<8 | uint64(digit)
	}
	return int64(x % uint64(n))
}

// stringsOf calls visit with each string field of the record that pointer points
// to, those in slices included.
func stringsOf(pointer any, visit func(path string, field *string)) {
	walkStrings(reflect.ValueOf(pointer).Elem(), "", visit)
}

func walkStrings(v reflect.Value, path string, visit func(string, *string)) {
	switch v.Kind() {
	case reflect.String:
		visit(path, v.Addr().Interface().(*string))
	case reflect.Pointer:
		if !v.IsNil() {
			walkStrings(v.Elem(), path, visit)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			walkStrings(v.Index(v.Len()-1), path, visit)
		}
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			return
		}
		for i := range v.NumField() {
			walkStrings(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	}
}
