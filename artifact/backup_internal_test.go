package artifact

import "testing"

func TestARegistryIsAPartOfAPath(t *testing.T) {
	for registry, want := range map[string]string{
		"registry.example.com":      "registry.example.com",
		"Registry.Example.com:5000": "registry.example.com_5000",
		"localhost":                 "localhost",
		"127.0.0.1:5000":            "127.0.0.1_5000",
		"[::1]:5000":                "0000.0000.0000.0000.0000.0000.0000.0001_5000",
		"[fd00::2]":                 "fd00.0000.0000.0000.0000.0000.0000.0002",
	} {
		if got := registryPath(registry); got != want {
			t.Errorf("%s is %s, want %s", registry, got, want)
		}
	}
}
