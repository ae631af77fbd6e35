package fence

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// The one user of a simulator.
const (
	login    = "root"
	password = "s3cret-of-the-bmc"
)

// ports are those of the simulators; each has its own.
var ports atomic.Int32

// simulator is OpenIPMI's: a BMC whose machine is a file that says 1 or 0.
type simulator struct {
	t    testing.TB
	dir  string
	port int
	cmd  *exec.Cmd
	// kg is the BMC's own key in hexadecimal digits, "" for none.
	kg string
}

// chassis is the program that the simulator asks and orders. Each order is written down. The file
// "delay" makes an order take effect that many seconds later, "ignore" makes off do nothing.
const chassis = `#!/bin/sh
d=%s
shift
case "$1 $2" in
"get power") echo "power:$(cat $d/power)" ;;
"set power")
	echo "power $3" >>$d/orders
	[ "$3" = 0 ] && [ -e $d/ignore ] && exit 0
	if [ -e $d/delay ]; then
		(sleep $(cat $d/delay); echo $3 >$d/power) >/dev/null 2>&1 &
	else
		echo $3 >$d/power
	fi ;;
*) echo "$*" >>$d/orders ;;
esac
`

const emulation = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"

// startSimulator starts one whose machine is on.
func startSimulator(t testing.TB) *simulator { return startKeyed(t, "") }

// startKeyed starts one with a Kg key.
func startKeyed(t testing.TB, key string) *simulator {
	t.Helper()
	port := 9000 + int(ports.Add(1))
	s := &simulator{t: t, dir: filepath.Join(sandbox.Work, fmt.Sprintf("bmc%d", port)), port: port, kg: hex.EncodeToString([]byte(key))}
	keyLine := ""
	if key != "" {
		keyLine = fmt.Sprintf("bmc_key %q", key)
	}
	lan := fmt.Sprintf(`name "bmc%d"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback none md5 straight
    allowed_auths_user none md5 straight
    allowed_auths_operator md5 straight
    allowed_auths_admin md5 straight
    guid a123456789abcdefa123456789abcdef
    %s
  endlan
  chassis_control "%s/chassis 0x20"
  user 1 true "" "unused" user 10 none md5 straight
  user 2 true "%s" "%s" admin 10 md5 straight
`, port, port, keyLine, s.dir, login, password)
	for name, text := range map[string]string{
		"lan.conf": lan, "sim.emu": emulation, "chassis": fmt.Sprintf(chassis, s.dir), "power": "1\n", "orders": "",
	} {
		s.write(name, text)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *simulator) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *simulator) remove(names ...string) {
	for _, name := range names {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
}

func (s *simulator) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (s *simulator) start() {
	s.t.Helper()
	s.cmd = exec.Command("ipmi_sim", "-n", "-c", s.dir+"/lan.conf", "-f", s.dir+"/sim.emu", "-s", s.dir+"/state")
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 10*time.Second; {
		if strings.Contains(s.ipmitool("chassis", "power", "status"), "Chassis Power is") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatal("ipmi_sim does not answer ipmitool")
}

func (s *simulator) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// ipmitool is the judge of state: a client of its own.
func (s *simulator) ipmitool(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	base := []string{"-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", login, "-P", password, "-N", "1", "-R", "1"}
	if s.kg != "" {
		base = append(base, "-y", s.kg)
	}
	out, _ := exec.CommandContext(ctx, "ipmitool", append(base, args...)...).CombinedOutput()
	return string(out)
}

// on asks ipmitool.
func (s *simulator) on() bool {
	s.t.Helper()
	switch out := s.ipmitool("chassis", "power", "status"); {
	case strings.Contains(out, "Chassis Power is on"):
		return true
	case !strings.Contains(out, "Chassis Power is off"):
		s.t.Fatalf("ipmitool: %s", out)
	}
	return false
}

// reset brings the machine into a state, and forgets orders and misfortunes.
func (s *simulator) reset(on bool) {
	s.remove("delay", "ignore")
	s.write("power", map[bool]string{true: "1\n", false: "0\n"}[on])
	s.write("orders", "")
}

// orders are those that reached the machine.
func (s *simulator) orders() string { return strings.ReplaceAll(s.read("orders"), "\n", ", ") }

// outcome is what a caller of an agent sees.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// call runs an agent with lines on standard input, or with options if there are some. What it prints
// is compared without the white space around it.
func call(t testing.TB, program, stdin string, args ...string) outcome {
	t.Helper()
	o := sandbox.Call(t, stdin, program, args...)
	return outcome{o.Code, strings.TrimSpace(o.Stdout), o.Stderr, o.Took}
}

// lines are the parameters of a device, as Pacemaker writes them.
func (s *simulator) lines(more ...string) string {
	base := []string{"ip=127.0.0.1", fmt.Sprintf("ipport=%d", s.port), "username=" + login, "password=" + password, "lanplus=1", "cipher=3"}
	return strings.Join(append(base, more...), "\n") + "\n"
}
