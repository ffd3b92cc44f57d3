package sweep

import (
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"sync"
)

// self names this process as no other that ever lived: host, process number,
// when it was started, and the running system that counts both.
func self() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	start, _ := started(os.Getpid())
	return fmt.Sprintf("%s/%d/%s/%s", host, os.Getpid(), start, system())
}

// gone says whether the process of that name has ended, as far as this machine
// can know: of processes elsewhere it says no.
func gone(name string) bool {
	if !here(name) {
		return false
	}
	start, alive := started(number(name))
	return !alive || start != strings.Split(name, "/")[2]
}

// number is the process number in a name; 0 is none's.
func number(name string) int {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return 0
	}
	pid, _ := strconv.Atoi(parts[1])
	return pid
}

// here says whether the process of that name belongs to this running system. What
// isn't known to is taken for another machine's: of that, only its lease tells.
func here(name string) bool {
	return number(name) > 0 && system() != "" && strings.HasSuffix(name, "/"+system())
}

// system names the running system, by its host's name too, and its name space of
// processes: containers share the one and may not share the other. Empty where the
// system doesn't tell.
var system = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\n%s\n%s", boot, space, host)
	return fmt.Sprintf("%x", h.Sum64())
})

// started is when a living process was started, in the system's own unit. One
// that only waits for its parent to ask how it ended is not alive.
func started(pid int) (start string, alive bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", !os.IsNotExist(err)
	}
	// The second field is the program's name in parentheses, which may hold any character.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", true
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}
