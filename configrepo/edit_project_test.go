package configrepo

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
)

func TestSetMinVersionsChangesThatAndNoOtherByte(t *testing.T) {
	const head = "apiVersion: stella/v1\nkind: Project # ours\nname:   shop\n"
	for src, want := range map[string]string{
		head: head + "retention:\n  minVersions: 7\n",
		head + "retention:\n  minVersions: 5 # five\n":             head + "retention:\n  minVersions: 7 # five\n",
		head + "retention: {minVersions: 12}\n":                    head + "retention: {minVersions: 7}\n",
		head + "retention: {}\nledger: {}\n":                       head + "retention: {minVersions: 7}\nledger: {}\n",
		head + "branch: main":                                      head + "branch: main\nretention:\n  minVersions: 7",
		"{apiVersion: stella/v1, kind: Project, name: shop}\n":     "{apiVersion: stella/v1, kind: Project, name: shop, retention: {minVersions: 7}}\n",
		"apiVersion: stella/v1\r\nkind: Project\r\nname: shop\r\n": "apiVersion: stella/v1\r\nkind: Project\r\nname: shop\r\nretention:\r\n  minVersions: 7\r\n",
	} {
		got, err := SetMinVersions([]byte(src), 7)
		if err != nil {
			t.Errorf("%q: %v", src, err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%q (-want +got)\n%s", src, diff)
		}
		if again, err := SetMinVersions(got, 7); err != nil || string(again) != string(got) {
			t.Errorf("once more: %q, %v", again, err)
		}
	}
	for _, n := range []int{0, -1, 1001} {
		if _, err := SetMinVersions([]byte(head), n); !errors.Is(err, stella.ErrInvalid) || stella.Hint(err) == "" {
			t.Errorf("%d: %v", n, err)
		}
	}
	if _, err := SetMinVersions([]byte("kind: [\n"), 3); err == nil {
		t.Error("a file that is none is edited")
	}
}
