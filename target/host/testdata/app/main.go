// Command app is what tests run as a service: one static file that does as its
// first argument says.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"
)

func main() {
	commands := map[string]func(args []string){
		"serve": serve, "wait": wait, "stubborn": stubborn, "fork": fork, "orphan": orphan, "flood": flood,
		"exit": exit, "crash": crash, "get": get, "facts": facts, "touch": touch, "exists": exists, "once": once, "polite": polite, "say": say,
		"chain": chain, "title": title, "drop": drop, "away": away,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "want a command")
		os.Exit(64)
	}
	commands[os.Args[1]](os.Args[2:])
}

// serve answers on $PORT of the loopback address, or of $ADDR, until SIGTERM.
func serve(args []string) {
	addr := os.Getenv("ADDR")
	if addr == "" {
		addr = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, os.Getenv("PORT")))
	if err != nil {
		fmt.Println("listen:", err)
		os.Exit(1)
	}
	fmt.Println("listening", version())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	wait(args)
}

// answer speaks just enough HTTP; net/http would make the program four times as
// large.
func answer(c net.Conn) {
	defer c.Close()
	line, _ := bufio.NewReader(c).ReadString('\n')
	status, body := "200 OK", ""
	switch path := strings.Fields(line + " - -")[1]; path {
	case "/version":
		body = version() + "\n"
	case "/healthz":
		if _, err := os.Stat("/tmp/sick"); err == nil {
			status = "503 Service Unavailable"
		}
	default:
		status = "404 Not Found"
	}
	fmt.Fprintf(c, "HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// version is what the image says: a file in it, or the environment.
func version() string {
	for _, file := range []string{"/version", "version"} {
		if v, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(v))
		}
	}
	return os.Getenv("VERSION")
}

func wait([]string) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGUSR1)
	fmt.Println("waiting")
	fmt.Println("got", <-told)
}

// polite ends on SIGUSR1 only.
func polite([]string) {
	signal.Ignore(syscall.SIGTERM)
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	fmt.Println("waiting")
	fmt.Println("got", <-told)
}

func say(args []string) { fmt.Println(strings.Join(args, " ")) }

func stubborn([]string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	fmt.Println("waiting")
	<-time.After(time.Hour)
}

// fork leaves children behind: one in its own group, and one in a session of its
// own whose parent has ended. With "gone" it ends itself.
func fork(args []string) {
	for _, how := range []string{"wait", "orphan"} {
		cmd := exec.Command(self(), how)
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: how == "orphan"}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if how == "orphan" {
			_ = cmd.Wait()
		}
	}
	fmt.Println("forked")
	if len(args) > 0 && args[0] == "gone" {
		return
	}
	wait(nil)
}

func orphan([]string) {
	cmd := exec.Command(self(), "stubborn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		os.Exit(1)
	}
}

// self is this program: there is no /proc in a service's root.
func self() string {
	if _, err := os.Stat("/bin/app"); err == nil {
		return "/bin/app"
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func flood([]string) {
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 8 << 10 {
		if _, err := os.Stdout.Write(line); err != nil {
			os.Exit(1)
		}
	}
	fmt.Println("flooded")
	wait(nil)
}

func exit(args []string) {
	var code int
	_, _ = fmt.Sscan(args[0], &code)
	fmt.Println("leaving with", code)
	os.Exit(code)
}

// crash waits, and then ends with 3.
func crash(args []string) {
	d, _ := time.ParseDuration(args[0])
	<-time.After(d)
	fmt.Println("crashing")
	os.Exit(3)
}

// once fails the first time and waits the second: a file tells.
func once(args []string) {
	if _, err := os.Stat(args[0]); err != nil {
		touch(args)
		os.Exit(5)
	}
	wait(nil)
}

// get asks ADDRESS for PATH.
func get(args []string) {
	c, err := net.DialTimeout("tcp", args[0], 5*time.Second)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", args[1])
	line, _ := bufio.NewReader(c).ReadString('\n')
	if !strings.Contains(line, " 200 ") {
		fmt.Println("answer", strings.TrimSpace(line))
		os.Exit(1)
	}
}

func touch(args []string) {
	if err := os.WriteFile(args[0], []byte("touched"), 0o644); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func exists(args []string) {
	if _, err := os.Stat(args[0]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// facts prints what a process can know of itself, and waits.
func facts(args []string) {
	groups, _ := syscall.Getgroups()
	dir, _ := os.Getwd()
	pgrp := syscall.Getpgrp()
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	const getNoNewPrivs = 39
	nnp, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, getNoNewPrivs, 0, 0)
	doc := map[string]any{
		"uid": os.Getuid(), "euid": os.Geteuid(), "gid": os.Getgid(), "groups": groups, "dir": dir, "env": os.Environ(),
		"args": os.Args, "leads": pgrp == os.Getpid() && int(sid) == os.Getpid(), "noNewPrivs": nnp == 1,
		"root": names("/"), "dev": names("/dev"), "proc": names("/proc"), "fds": openFDs(), "writable": writable("/", "/bin", "/tmp", "/data", "/ro", "/dev", "/etc"),
		"caps": capabilities(), "certs": size("/etc/ssl/certs/ca-certificates.crt") > 0, "resolv": size("/etc/resolv.conf") >= 0,
		"config": text("/etc/app.conf"), "mknod": mknod("/tmp/disk"), "umask": umask(),
	}
	out, _ := json.Marshal(doc)
	fmt.Println("facts " + string(out))
	wait(nil)
}

func umask() int {
	old := syscall.Umask(0)
	syscall.Umask(old)
	return old
}

func text(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}

func size(file string) int64 {
	fi, err := os.Stat(file)
	if err != nil {
		return -1
	}
	return fi.Size()
}

func mknod(path string) bool { return syscall.Mknod(path, syscall.S_IFBLK|0o600, 0x800) == nil }

func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	sort.Strings(out)
	return out
}

func writable(dirs ...string) []string {
	out := []string{}
	for _, d := range dirs {
		f, err := os.CreateTemp(d, "probe-*")
		if err != nil {
			continue
		}
		_ = f.Close()
		_ = os.Remove(f.Name())
		out = append(out, d)
	}
	return out
}

// openFDs lists the descriptors from 3 on that were inherited: Go's own have
// close-on-exec.
func openFDs() []int {
	out := []int{}
	for fd := 3; fd < 256; fd++ {
		flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno == 0 && flags&syscall.FD_CLOEXEC == 0 {
			out = append(out, fd)
		}
	}
	return out
}
