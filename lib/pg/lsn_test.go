package pg

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestParseLSN(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want LSN
		bad  bool
	}{
		{"0/0", 0, false},
		{"16/B374D848", 0x16B374D848, false},
		{"FFFFFFFF/FFFFFFFF", 1<<64 - 1, false},
		{"a/b", 0xA0000000B, false},
		{"", 0, true}, {"/", 0, true}, {"1", 0, true}, {"1/", 0, true}, {"/1", 0, true}, {"1/2/3", 0, true},
		{"-1/0", 0, true}, {"+1/0", 0, true}, {"1_0/0", 0, true}, {"0x1/0", 0, true}, {"1/ 2", 0, true}, {"123456789/0", 0, true},
	} {
		got, err := ParseLSN(tt.in)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("ParseLSN(%q) = %v, %v", tt.in, got, err)
		}
	}
}

func TestLSNForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		if got, err := ParseLSN(l.String()); err != nil || got != l {
			t.Fatalf("%s: %v, %v", l, got, err)
		}
		if got, err := strconv.ParseUint(l.Hex(), 16, 64); err != nil || LSN(got) != l || len(l.Hex()) != 16 {
			t.Fatalf("%s: %v, %v", l.Hex(), LSN(got), err)
		}
	})
	if got := LSN(0x16B374D848).Hex(); got != "00000016B374D848" {
		t.Errorf("Hex: %s", got)
	}
}

func TestSegmentName(t *testing.T) {
	for _, tt := range []struct {
		tli  Timeline
		lsn  LSN
		size uint32
		want string
	}{
		{1, 0, 16 << 20, "000000010000000000000000"},
		{1, 0x1000000, 16 << 20, "000000010000000000000001"},
		{2, 0x1FFFFFFFF, 16 << 20, "0000000200000001000000FF"},
		{0x1A, 0x100000000, 1 << 20, "0000001A0000000100000000"},
		{1, 0xC0000000, 1 << 30, "000000010000000000000003"},
	} {
		got := SegmentName(tt.tli, tt.lsn, tt.size)
		if got != tt.want {
			t.Errorf("SegmentName(%d, %s) = %s, want %s", tt.tli, tt.lsn, got, tt.want)
		}
		tli, start, ok := ParseSegmentName(got, tt.size)
		if !ok || tli != tt.tli || start != tt.lsn-tt.lsn%LSN(tt.size) {
			t.Errorf("ParseSegmentName(%s) = %d, %s, %v", got, tli, start, ok)
		}
	}
	for _, name := range []string{"", "00000002.history", "000000010000000000000001.partial", "0000000100000000000000G1", "000000000000000000000001", "000000010000000000000100"} {
		if _, _, ok := ParseSegmentName(name, 16<<20); ok {
			t.Errorf("%q is no segment", name)
		}
	}
}
