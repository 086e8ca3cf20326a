package drift_test

import (
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func TestSecretsAreMaskedWhereverTheyStand(t *testing.T) {
	r := stella.Resource{
		Fields: map[string]any{
			"environment": map[string]any{"TOKEN": "hunter2", "a/b": "slashed"},
			"command":     []any{"serve", "--password=hunter2000"},
			"labels":      map[string]any{"one": "label-1"},
			"user":        "root",
			"secrets":     map[string]any{"key": map[string]any{"content": "BEGIN\nc2VjcmV0\nab\n"}, "raw": map[string]any{"contentBase64": "/3NlY3JldGx5"}},
		},
		Secrets: []string{"/environment/TOKEN", "/environment/a~1b", "/command/1", "/labels", "/nothing", "/secrets/key/content", "/secrets/raw/contentBase64"},
	}
	for text, want := range map[string]string{
		"token hunter2, slashed":             "token [secret], [secret]",
		"started with --password=hunter2000": "started with [secret]",
		"label-1 as root":                    "[secret] as root",
		"key: c2VjcmV0, tab":                 "key: [secret], tab",
		"in base64 aHVudGVyMg==":             "in base64 [secret]",
		"raw \xffsecretly":                   "raw [secret]",
	} {
		if got := drift.Mask(text, drift.SecretTexts(r)); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
