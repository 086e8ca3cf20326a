package docker

import (
	"math"
	"strconv"
)

// orNone returns a value, or nil for the zero one.
func orNone[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// canonicalSize is sizeOf where zero says something.
func canonicalSize(n int64) string { return strconv.FormatInt(n, 10) }

func numberOf(n int64) any {
	if n == 0 {
		return nil
	}
	return float64(n)
}

// sizeOf returns a number of bytes as Compose renders it.
func sizeOf(n int64) any {
	if n == 0 {
		return nil
	}
	return strconv.FormatInt(n, 10)
}

func cpusOf(nano int64) any {
	if nano == 0 {
		return nil
	}
	// Compose computes with 32 bits: six digits are what is meant.
	return math.Round(float64(nano)/1e3) / 1e6
}

func listOf(list []string) any {
	if len(list) == 0 {
		return nil
	}
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = e
	}
	return out
}

func pairsOf(m map[string]string) any {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]any, len(m))
	for name, value := range m {
		out[name] = value
	}
	return out
}
