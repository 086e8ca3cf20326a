package wire

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
)

const (
	one = "1111111111111111111111111111111111111111"
	two = "2222222222222222222222222222222222222222"
)

// pkts joins pkt-lines; "" is a flush.
func pkts(lines ...string) string {
	var b []byte
	for _, l := range lines {
		if l == "" {
			b = append(b, flushPkt...)
			continue
		}
		b = appendPkt(b, "%s", l)
	}
	return string(b)
}

func advertOf(s string) (*Advert, error) {
	return readAdvert(bufio.NewReader(strings.NewReader(s)), UploadPack, 0)
}

func TestAdvertisements(t *testing.T) {
	caps := "\x00side-band-64k shallow symref=HEAD:refs/heads/trunk object-format=sha1 agent=git/2"
	for name, c := range map[string]struct {
		in            string
		head, trunk   string
		defaultBranch string
	}{
		"a plain one":            {pkts(one+" HEAD"+caps+"\n", one+" refs/heads/trunk\n", two+" refs/tags/v1\n", one+" refs/tags/v1^{}\n", ""), one, one, "refs/heads/trunk"},
		"one over HTTP":          {pkts("# service=git-upload-pack\n", "", one+" refs/heads/trunk"+caps, ""), "0000000000000000000000000000000000000000", one, "refs/heads/trunk"},
		"one without symref":     {pkts(one+" HEAD\x00shallow", one+" refs/heads/trunk", one+" refs/heads/zzz", ""), one, one, "refs/heads/trunk"},
		"an empty repository":    {pkts(strings.Repeat("0", 40)+" capabilities^{}"+caps, ""), strings.Repeat("0", 40), strings.Repeat("0", 40), "refs/heads/trunk"},
		"nothing at all":         {pkts(""), strings.Repeat("0", 40), strings.Repeat("0", 40), ""},
		"a shallow remote":       {pkts(one+" HEAD"+caps, one+" refs/heads/trunk", "shallow "+two, ""), one, one, "refs/heads/trunk"},
		"one announcing version": {pkts("version 1", one+" HEAD"+caps, one+" refs/heads/trunk", ""), one, one, "refs/heads/trunk"},
	} {
		a, err := advertOf(c.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.Head.String() != c.head || a.Refs["refs/heads/trunk"].String() != c.trunk || a.Default != c.defaultBranch {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestAdvertisementsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"sha256":               {pkts(strings.Repeat("a", 64)+" HEAD\x00object-format=sha256", ""), stella.ErrUnsupported},
		"sha256 in version 2":  {pkts("version 2", "object-format=sha256", ""), stella.ErrUnsupported},
		"a page":               {"<html>welcome", errMalformed},
		"another service":      {pkts("# service=git-receive-pack\n", "", one+" HEAD\x00x", ""), errMalformed},
		"no capabilities":      {pkts(one+" HEAD", ""), errMalformed},
		"capabilities twice":   {pkts(one+" HEAD\x00a", one+" refs/heads/a\x00b", ""), errMalformed},
		"an id that is short":  {pkts(one[1:]+" HEAD\x00a", ""), errMalformed},
		"an id in upper case":  {pkts(strings.Repeat("A", 40)+" HEAD\x00a", ""), errMalformed},
		"a length of three":    {"0003", errMalformed},
		"a line that ends off": {"00ffabc", errMalformed},
	} {
		if _, err := advertOf(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	var remote *remoteError
	if _, err := advertOf(pkts("ERR access \x1b[2Jdenied")); !errors.As(err, &remote) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("ERR: %v", err)
	}
}

func FuzzAdvert(f *testing.F) {
	f.Add(pkts(one+" HEAD\x00side-band-64k", one+" refs/heads/trunk", ""))
	f.Add(pkts("version 2", "fetch=shallow", ""))
	f.Fuzz(func(t *testing.T, s string) {
		a, err := advertOf(s)
		if err == nil && a == nil {
			t.Fatal("neither an advertisement nor an error")
		}
	})
}

func reportOf(s string) (*Report, error) { return readReport(bufio.NewReader(strings.NewReader(s))) }

func TestReports(t *testing.T) {
	got, err := reportOf(pkts("unpack ok\n", "ok refs/heads/a\n", "ng refs/heads/b pre-receive hook \x1b[2Jdeclined\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"refs/heads/a": "ok", "refs/heads/b": `pre-receive hook \u001B[2Jdeclined`}
	if diff := cmp.Diff(want, got.Refs); diff != "" || got.Unpack != "ok" {
		t.Errorf("%s (-want +got):\n%s", got.Unpack, diff)
	}
	for _, in := range []string{"", "0000", pkts("unpack ok", "ok refs/heads/a"), pkts("unpack ok", "yes refs/heads/a", ""), pkts("ok refs/heads/a", "")} {
		if got, err := reportOf(in); err == nil {
			t.Errorf("%q: got %+v, want an error", in, got)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add(pkts("unpack ok\n", "ok refs/heads/a\n", "ng refs/heads/b why\n", ""))
	f.Fuzz(func(_ *testing.T, s string) { _, _ = reportOf(s) })
}

func FuzzSections(f *testing.F) {
	f.Add(pkts("shallow-info\n", "shallow "+one+"\n") + delimPkt + pkts("packfile\n"))
	f.Fuzz(func(_ *testing.T, s string) {
		r := bufio.NewReader(strings.NewReader(s))
		_ = new(Response).readSections(r)
		_ = new(Response).readShallow(r)
	})
}

func TestWhatARemotePrintsIsBoundedAndPrintable(t *testing.T) {
	s := &said{}
	for range 10 << 10 {
		fmt.Fprint(s, "\x1b[31mremote: counting\r\u202e and so on \xff\n")
	}
	if got := s.String(); len([]rune(got)) > 6*maxSaid+1 || strings.ContainsAny(got, "\x1b\r\n\u202e") || !utf8.ValidString(got) {
		t.Errorf("%d runes: %.100q", len([]rune(got)), got)
	}
	s = &said{}
	fmt.Fprint(s, "Counting 1%\rCounting 100%\nhook: no deploys on Friday\n")
	if got, want := s.String(), "Counting 100%; hook: no deploys on Friday"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "999999": time.Hour, "-5": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzCredential(f *testing.F) {
	f.Add([]byte("username=u\npassword=p\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		if u, p := parseCredential(out); strings.ContainsAny(u+p, "\n\r\x00") {
			t.Fatalf("%q %q", u, p)
		}
	})
}

func TestPathsAreOneWordForAShell(t *testing.T) {
	if got, want := quote("/a'b; id #!"), `'/a'\''b; id #'\!''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
