//go:build linux

package host

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stella-ops/stella"
)

func (s *scene) server(t testing.TB, name, version string, port int) stella.Resource {
	t.Helper()
	return serviceOf(name, s.image(t, version), command("serve"), fields{
		"environment": fields{"PORT": portText(port)}, "ports": portField(port),
	})
}

func TestAPortOfSomebodyElseIsSeenBeforeTheSwitch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("web", s.image(t, "1")))
	pid := s.pid(t, "web")
	port := freePort(t)
	l, err := net.Listen("tcp", "127.0.0.1:"+portText(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	want := stateOf(s.server(t, "web", "2", port))
	err = s.Prepare(t.Context(), want, 10)
	if !errors.Is(err, stella.ErrRefused) || stella.Hint(err) == "" ||
		!strings.Contains(err.Error(), "service/web: ports: 127.0.0.1:"+portText(port)+"/tcp is in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("prepare: %v", err)
	}
	// Taken between prepare and apply, it is seen before the old one is stopped.
	if err := s.Apply(t.Context(), orderOf(10, stella.OpUpdate, want, "service/web"), nil); !errors.Is(err, stella.ErrRefused) {
		t.Errorf("apply: %v", err)
	}
	if s.pid(t, "web") != pid {
		t.Error("the old process was touched")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What another test forks has all that is open until it executes something.
	eventually(t, "nobody has it any more", func() bool { return s.Prepare(t.Context(), want, 10) == nil })
	s.fence = 10
	s.deploy(t, want.Resources...)
	if got := version(t, port); got != "2" {
		t.Errorf("version %q", got)
	}
}

func TestAnUpgradeTakesItsOwnPortOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	port := freePort(t)
	for _, v := range []string{"1", "2", "1"} {
		s.deploy(t, s.server(t, "web", v, port))
		if got := version(t, port); got != v {
			t.Errorf("version %q, want %q", got, v)
		}
	}
}

func TestServicesMaySwapPortsOrTakeThatOfOneThatGoes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	a, b := freePort(t), freePort(t)
	s.deploy(t, s.server(t, "api", "api", a), s.server(t, "web", "web", b))
	version(t, a)
	version(t, b)
	s.deploy(t, s.server(t, "api", "api", b), s.server(t, "web", "web", a))
	if got := []string{version(t, a), version(t, b)}; !cmp.Equal(got, []string{"web", "api"}) {
		t.Errorf("swapped: %q", got)
	}
	s.deploy(t, s.server(t, "web", "web", b))
	if got := version(t, b); got != "web" {
		t.Errorf("version %q", got)
	}
	// One that stays as it is keeps its port.
	err := s.Prepare(t.Context(), stateOf(s.server(t, "web", "web", b), serviceOf("new", s.image(t, "1"), fields{"ports": portField(b)})), s.fence)
	if !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

func TestAPortOpenedToTheWorldIsDrift(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	port := freePort(t)
	web := s.server(t, "web", "1", port)
	web.Fields["environment"] = fields{"PORT": portText(port), "ADDR": "0.0.0.0"}
	s.deploy(t, web)
	version(t, port)
	if diff := cmp.Diff([]string{"modified service/web/ports/0/hostIP"}, s.changes(t, web)); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	web.Fields["environment"] = fields{"PORT": portText(port)}
	s.deploy(t, web)
	version(t, port)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
}

func TestParseListeners(t *testing.T) {
	tcp := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23456 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 34567 1 0000000000000000 20 4 30 10 -1
   3: nonsense:ZZZZ 0
`
	tcp6 := `   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 45678 1
   1: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 56789 1
`
	got := append(parseListeners(tcp, "tcp"), parseListeners(tcp6, "tcp")...)
	want := []listener{
		{port{8080, "tcp", netip.MustParseAddr("127.0.0.1")}, "12345"},
		{port{22, "tcp", netip.Addr{}}, "23456"},
		{port{8081, "tcp", netip.MustParseAddr("::1")}, "45678"},
		{port{8082, "tcp", netip.MustParseAddr("127.0.0.1")}, "56789"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(listener{}, port{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("listeners (-want +got)\n%s", diff)
	}
}

func TestListenersAreReadFromThisMachine(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	all, err := listeners()
	if err != nil {
		t.Fatal(err)
	}
	owners := socketOwners(all)
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, want := range []port{
		{uint16(tcp.Addr().(*net.TCPAddr).Port), "tcp", loopback}, {uint16(udp.LocalAddr().(*net.UDPAddr).Port), "udp", loopback},
	} {
		found := false
		for _, l := range all {
			found = found || l.port == want && owners[l.inode] == os.Getpid()
		}
		if !found {
			t.Errorf("%s of this process is not found", want)
		}
	}
}

func FuzzParseListeners(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 1")
	f.Add("0: :0 a 07 b c d e f g")
	f.Add("0: 0100007F0100007F0100007F0100007F0100007F:1 a 0A b c d e f g")
	f.Fuzz(func(t *testing.T, table string) {
		for _, protocol := range []string{"tcp", "udp"} {
			for _, l := range parseListeners(table, protocol) {
				if l.port.protocol != protocol || l.inode == "" {
					t.Fatalf("%+v", l)
				}
			}
		}
	})
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	image := s.image(t, "1")
	on := func(name, condition string) fields {
		return fields{"dependsOn": fields{name: fields{"condition": condition}}}
	}
	sick := fields{"healthcheck": fields{"test": []any{"CMD", "/bin/app", "exists", "/nothing"}, "intervalSeconds": 0.05, "retries": 1.0}}
	well := fields{"healthcheck": fields{"test": []any{"CMD", "/bin/app", "say", "well"}, "intervalSeconds": 0.05, "retries": 1.0}}
	for _, tt := range []struct {
		name string
		db   fields
		on   fields
		want string // of the error; empty for success
		runs bool   // the web service was started
	}{
		{"started", command("wait"), on("db", conditionStarted), "", true},
		{"healthy", well, on("db", conditionHealthy), "", true},
		{"never healthy", sick, on("db", conditionHealthy), "wait for db: unhealthy: running, unhealthy", false},
		{"completed", command("exit", "0"), on("db", conditionCompleted), "", true},
		{"failed", command("exit", "3"), on("db", conditionCompleted), "wait for db: unhealthy: exited: exited with 3: leaving with 3", false},
		{"gone before it was healthy", fields{"command": []any{"exit", "1"}, "healthcheck": well["healthcheck"]}, on("db", conditionHealthy), "wait for db: unhealthy: exited", false},
		{"of another target", command("wait"), on("elsewhere", conditionHealthy), "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.fence++
			if err := s.Remove(t.Context(), s.fence); err != nil {
				t.Fatal(err)
			}
			// The plan names them the wrong way around: alphabetically.
			want := stateOf(serviceOf("app", image, tt.on), serviceOf("db", image, tt.db))
			s.fence++
			err := s.Prepare(t.Context(), want, s.fence)
			if err == nil {
				err = s.Apply(t.Context(), orderOf(s.fence, stella.OpCreate, want, "service/app", "service/db"), nil)
			}
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, stella.ErrUnhealthy) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if _, runs := s.lay.shimOf("app"); runs != tt.runs {
				t.Errorf("it was started: %v, want %v", runs, tt.runs)
			}
		})
	}
	err := s.Prepare(t.Context(), stateOf(serviceOf("app", image, on("db", conditionHealthy)), serviceOf("db", image)), s.fence)
	if !errors.Is(err, stella.ErrInvalid) || !strings.Contains(err.Error(), "db has no healthcheck") {
		t.Errorf("waiting for the health of what has none: %v", err)
	}
}

func TestWaitingForADependencyEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deploy(t, serviceOf("db", s.image(t, "1")))
	why := errors.New("the lease was lost")
	ctx, cancel := contextThatEnds(t, why, 50*time.Millisecond)
	defer cancel()
	if err := s.waitFor(ctx, "db", conditionCompleted); !errors.Is(err, why) {
		t.Errorf("%v, want its cause", err)
	}
}
