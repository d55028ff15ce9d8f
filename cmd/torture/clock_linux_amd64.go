package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// clockCode replaces __vdso_clock_gettime(clock, *timespec) of one process: it asks
// the kernel, and adds to CLOCK_REALTIME what stands in its last eight bytes, in
// seconds. The monotonic clock stays, as it does where an operator or NTP sets a
// machine's clock.
var clockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
	0x75, 0x0a, // jne to ret
	0x48, 0x8b, 0x0d, 0x0e, 0x00, 0x00, 0x00, // mov rcx, [rip+14], the last eight bytes
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3,                   // ret
	0xc3,                   // ret, where jne goes
	0x90, 0x90, 0x90, 0x90, // up to a multiple of eight
	0x90, 0x90, 0x90, 0x90, 0x90,
	0, 0, 0, 0, 0, 0, 0, 0,
}

// setClock makes the wall clock of a process, and of no other, differ from the
// machine's by whole seconds. Go reads its clocks through the vDSO, code that the
// kernel maps into each process, and a debugger's right is enough to change it there.
func setClock(pid int, by time.Duration) error {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close() //nolint:errcheck // what was written is there
	low, high, err := vdso(pid)
	if err != nil {
		return err
	}
	at, err := clockFunction(memory, low, high)
	if err != nil {
		return err
	}
	offset := binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	begin := make([]byte, len(clockCode)-8)
	if _, err := memory.ReadAt(begin, at); err != nil {
		return err
	}
	if bytes.Equal(begin, clockCode[:len(begin)]) {
		_, err = memory.WriteAt(offset, at+int64(len(begin)))
		return err
	}
	// No thread may be inside of what is replaced.
	for range 100 {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		outside := allOutside(pid, low, high)
		if outside {
			_, err = memory.WriteAt(append(bytes.Clone(clockCode[:len(begin)]), offset...), at)
		}
		if err := errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)); err != nil || outside {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the process never leaves its clock")
}

// vdso is where the kernel has mapped it.
func vdso(pid int) (low, high int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &low, &high)
			return low, high, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// clockFunction is the address of __vdso_clock_gettime.
func clockFunction(memory *os.File, low, high int64) (int64, error) {
	image := make([]byte, high-low)
	if _, err := memory.ReadAt(image, low); err != nil {
		return 0, err
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(clockCode)) && s.Value%8 == 0 {
			return low + int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("the vDSO has no clock_gettime of %d bytes to replace", len(clockCode))
}

// allOutside tells whether each thread of a stopped process stands elsewhere.
func allOutside(pid int, low, high int64) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		state, err := os.ReadFile(filepath.Join(task, "syscall"))
		fields := strings.Fields(string(state))
		if err != nil || len(fields) < 2 { // "running": it has not stopped yet
			return false
		}
		var at int64
		if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &at); err != nil || at >= low && at < high {
			return false
		}
	}
	return true
}
