package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// chain executes itself N times, each time with other arguments and another
// environment, as a shell does with what it starts last.
func chain(args []string) {
	n, _ := strconv.Atoi(args[0])
	argv, env := []string{"worker", "chain", strconv.Itoa(n - 1)}, []string{"SECRET=" + args[0], "PATH=/"}
	if n == 0 {
		argv = []string{"worker: idle", "wait"}
	}
	fmt.Println(syscall.Exec(self(), argv, env))
}

// title writes over its arguments and its environment, as setproctitle(3) does.
func title([]string) {
	total := 0
	for _, s := range append(append([]string{}, os.Args...), syscallEnviron()...) {
		total += len(s) + 1
	}
	area := unsafe.Slice(unsafe.StringData(os.Args[0]), total) // one after the other, execve(2)
	copy(area, "worker: idle")
	for i := len("worker: idle"); i < total; i++ {
		area[i] = 0
	}
	wait(nil)
}

// syscallEnviron is the environment as the kernel put it there.
func syscallEnviron() []string { return os.Environ() }

// drop becomes another user for good.
func drop(args []string) {
	id, _ := strconv.Atoi(args[0])
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)} {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	wait(nil)
}

// away leaves its directory and its standard files.
func away([]string) {
	if err := os.Chdir("/tmp"); err != nil {
		fmt.Println(err)
	}
	fmt.Println("waiting")
	os.Stdin.Close()
	wait(nil)
}
