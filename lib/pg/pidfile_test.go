package pg

import (
	"errors"
	"reflect"
	"testing"
)

func TestParsePidFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       PidFile
		bad        bool
	}{
		{"full", "4711\n/data\n1700000000\n5432\n/var/run/postgresql\n*\n  5432001    131073\nready   \n",
			PidFile{4711, false, "/data", 1700000000, 5432, "/var/run/postgresql", "*", 5432001, 131073, PidReady}, false},
		{"starting, no socket", "4711\n/data\n1700000000\n5432\n\nlocalhost\n", PidFile{PID: 4711, Data: "/data", Start: 1700000000, Port: 5432, ListenAddr: "localhost"}, false},
		{"standalone", "-12\n/data\n1\n", PidFile{PID: 12, Standalone: true, Data: "/data", Start: 1}, false},
		{"pid only", "7", PidFile{PID: 7}, false},
		{"nonsense behind", "7\n/d\nx\n99999\ns\nl\n1\nwhat ever\n", PidFile{PID: 7, Data: "/d", SocketDir: "s", ListenAddr: "l", Status: "what ever"}, false},
		{"empty", "", PidFile{}, true},
		{"blank", "\n\n", PidFile{}, true},
		{"zero", "0\n", PidFile{}, true},
		{"too large", "99999999999\n", PidFile{}, true},
		{"zeros", "\x00\x00\x00\x00", PidFile{}, true},
	} {
		got, err := ParsePidFile([]byte(tt.text))
		if tt.bad {
			if !errors.Is(err, ErrBadPidFile) {
				t.Errorf("%s: %+v, %v", tt.name, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func FuzzParsePidFile(f *testing.F) {
	f.Add([]byte("4711\n/data\n1700000000\n5432\n/var/run/postgresql\n*\n  5432001    131073\nready   \n"))
	f.Add([]byte("-1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePidFile(b)
		if err == nil && (p.PID <= 0 || p.Port < 0 || p.Port > 65535) {
			t.Fatalf("%+v", p)
		}
	})
}
