package wire

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

func TestURLsAreParsedAsGitParsesThem(t *testing.T) {
	for in, want := range map[string]Endpoint{
		"/srv/config.git":                      {Scheme: "file", Path: "/srv/config.git"},
		"file:///srv/config.git":               {Scheme: "file", Path: "/srv/config.git"},
		"file:///srv/a%20b.git":                {Scheme: "file", Path: "/srv/a b.git"},
		"file://localhost/srv/x":               {Scheme: "file", Path: "/srv/x"},
		"/srv/with:colon":                      {Scheme: "file", Path: "/srv/with:colon"},
		"https://git.example.com/shop/config":  {Scheme: "https", Host: "git.example.com", Path: "/shop/config"},
		"https://git.example.com/a/":           {Scheme: "https", Host: "git.example.com", Path: "/a"},
		"https://u:p@git.example.com:8443/a":   {Scheme: "https", Host: "git.example.com", Port: 8443, User: "u", Password: "p", Path: "/a"},
		"http://127.0.0.1:3000/a.git":          {Scheme: "http", Host: "127.0.0.1", Port: 3000, Path: "/a.git"},
		"http://[::1]:3000/a.git":              {Scheme: "http", Host: "::1", Port: 3000, Path: "/a.git"},
		"http://git.corp/a.git":                {Scheme: "http", Host: "git.corp", Path: "/a.git"},
		"ssh://git@git.example.com:2222/a.git": {Scheme: "ssh", Host: "git.example.com", Port: 2222, User: "git", Path: "/a.git"},
		"ssh://git.example.com/~ana/a.git":     {Scheme: "ssh", Host: "git.example.com", Path: "~ana/a.git"},
		"git@git.example.com:shop/config.git":  {Scheme: "ssh", Host: "git.example.com", User: "git", Path: "shop/config.git"},
		"backup:/srv/config.git":               {Scheme: "ssh", Host: "backup", Path: "/srv/config.git"},
	} {
		got, err := ParseURL(in, []string{"git.corp"})
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(Endpoint{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

// hostile are URLs that must never reach a transport.
func hostile() []string {
	return []string{
		"", "-", "--upload-pack=touch /tmp/pwn", "-oProxyCommand=id", "ext::sh -c id", "EXT::sh -c id", "fd::17", "testgit::x",
		"git://git.example.com/a", "ftp://git.example.com/a", "javascript://alert(1)", "ssh://-oProxyCommand=id/a", "ssh://u@-x/a",
		"ssh://-l@host/a", "-x@host:a", "host:-oX", "ssh://host", "ssh://host/", "ssh://u:p@host/a", "file://--upload-pack=touch${IFS}x",
		"file://host/a", "file://../a", "https://", "https:///a", "https://host:0/a", "https://host:99999/a", "https://host/a?sig=SECRET",
		"https://host/a#x", "http://git.example.com/a", "http://127.0.0.1.evil.tld/a", "/srv/a\nb", "/srv/a\x00b", "https://ho\x1bst/a",
		"file:///srv/a%00b", "file:///srv/a%0ab", "ssh://host/a%0ab", "/srv/\xff", "https://ho st/a", "https://host/%zz", strings.Repeat("a", 5000),
	}
}

func TestHostileURLsAreRefused(t *testing.T) {
	for _, in := range hostile() {
		ep, err := ParseURL(in, nil)
		if !errors.Is(err, stella.ErrInvalid) {
			t.Errorf("%.60q: got %+v, %v, want ErrInvalid", in, ep, err)
		}
	}
}

func TestARefusedURLDoesNotShowItsPassword(t *testing.T) {
	for _, in := range []string{"ftp://u:hunter2@h/a", "https://u:hunter2@h/a?sig=hunter2", "ssh://u:hunter2@h/a", "https://u:hunter2@ho st/a", "https://u:hunter2@h/%zz"} {
		if _, err := ParseURL(in, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s)
	}
	f.Add("https://u:p@h:1/a")
	f.Add("git@h:a")
	f.Fuzz(func(t *testing.T, s string) {
		ep, err := ParseURL(s, nil)
		if err != nil {
			return
		}
		if strings.ContainsFunc(ep.Path+ep.User+ep.Host, unicode.IsControl) || strings.HasPrefix(ep.Host, "-") ||
			strings.HasPrefix(ep.Path, "-") || ep.Scheme == "ssh" && strings.HasPrefix(ep.User, "-") {
			t.Fatalf("%q became %+v", s, ep)
		}
		if ep.String() != safe.Line(ep.String()) {
			t.Fatalf("%q is shown as %q", s, ep)
		}
	})
}
