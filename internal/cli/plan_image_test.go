package cli

import "testing"

// An image is told twice only where the short form would hide something: the
// registry that it comes from.
func TestSameRepository(t *testing.T) {
	const a = "registry.example.com/shop/api:1.0.0"
	for _, c := range []struct {
		other any
		want  bool
	}{
		{"registry.example.com/shop/api:2.0.0", true},
		{"mirror.example.com/shop/api:2.0.0", false},
		{"registry.example.com/shop/web:1.0.0", false},
		{nil, false},
	} {
		if got := sameRepository(a, c.other); got != c.want {
			t.Errorf("%v: %v, want %v", c.other, got, c.want)
		}
	}
}
