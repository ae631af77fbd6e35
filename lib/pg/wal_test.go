package pg

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// walImage is a segment of records made here, the smallest that pass.
func walImage(sizes ...int) ([]byte, ControlData, []LSN) {
	ctl := ControlData{SystemID: 7, WALSegSize: 1 << 20, WALBlockSize: 8192, Timeline: 1}
	le := binary.LittleEndian
	seg := make([]byte, ctl.WALSegSize)
	base := LSN(1 << 20)
	header := func(off, rem int) int {
		le.PutUint16(seg[off:], 0xD110)
		le.PutUint32(seg[off+4:], 1)
		le.PutUint64(seg[off+8:], uint64(base)+uint64(off))
		flags, size := uint16(0), shortPageHeader
		if off == 0 {
			flags, size = pageLongHeader, longPageHeader
			le.PutUint64(seg[24:], ctl.SystemID)
			le.PutUint32(seg[32:], ctl.WALSegSize)
			le.PutUint32(seg[36:], ctl.WALBlockSize)
		}
		if rem > 0 {
			flags |= pageFirstIsCont
			le.PutUint32(seg[off+16:], uint32(rem))
		}
		le.PutUint16(seg[off+2:], flags)
		return off + size
	}
	at, prev := header(0, 0), LSN(0x28)
	var starts []LSN
	for _, size := range sizes {
		if at%8192 == 0 {
			at = header(at, 0)
		}
		rec := make([]byte, size)
		le.PutUint32(rec, uint32(size))
		le.PutUint64(rec[8:], uint64(prev))
		for i := recordHeader; i < size; i++ {
			rec[i] = byte(i)
		}
		crc := crc32.Checksum(rec[recordHeader:], castagnoli())
		le.PutUint32(rec[recordCRCOffset:], crc32.Update(crc, castagnoli(), rec[:recordCRCOffset]))
		prev = base + LSN(at)
		starts = append(starts, prev)
		for {
			n := copy(seg[at:at+min(len(rec), 8192-at%8192)], rec)
			at, rec = at+n, rec[n:]
			if len(rec) == 0 {
				break
			}
			at = header(at, len(rec))
		}
		at = (at + 7) &^ 7
	}
	return seg, ctl, append(starts, base+LSN(at))
}

func readImage(t *testing.T, seg []byte, ctl ControlData, start LSN) WALEnd {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SegmentName(1, start, ctl.WALSegSize)), seg, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &walReader{dir: dir, control: ctl, history: History{Timeline: 1}, fetched: map[string]string{}}
	defer r.close()
	var end WALEnd
	if err := r.follow(context.Background(), start, &end); !errors.Is(err, errWALEnd) {
		t.Fatal(err)
	}
	return end
}

func TestWALReader(t *testing.T) {
	sizes := []int{24, 100, 8192 - 40 - 24 - 104, 30, 20000, 8168, 26, 50}
	seg, ctl, at := walImage(sizes...)
	n := len(sizes)
	if end := readImage(t, seg, ctl, at[0]); end.Records != n || end.LSN != at[n] || end.LastRecord != at[n-1] || end.Timeline != 1 {
		t.Fatalf("%+v, want %d records to %s", end, n, at[n])
	}
	le := binary.LittleEndian
	off := func(i int) int { return int(at[i] - 1<<20) }
	page := func(i int) int { return (off(i)/8192 + 1) * 8192 }
	for _, tt := range []struct {
		name string
		edit func(b []byte)
		want int // whole records left
	}{
		{"body", func(b []byte) { b[off(1)+50]++ }, 1},
		{"checksum", func(b []byte) { b[off(3)+recordCRCOffset]++ }, 3},
		{"length 0", func(b []byte) { le.PutUint32(b[off(3):], 0) }, 3},
		{"length huge", func(b []byte) { le.PutUint32(b[off(3):], 1<<31) }, 3},
		{"length below a header", func(b []byte) { le.PutUint32(b[off(3):], 23) }, 3},
		{"link", func(b []byte) { b[off(6)+8]++ }, 6},
		{"page address of former life", func(b []byte) { b[page(4)+8+2]++ }, 4},
		{"page magic", func(b []byte) { le.PutUint16(b[page(4):], 0xD10D) }, 4},
		{"page flags", func(b []byte) { b[page(4)+3] = 0x80 }, 4},
		{"page of a later timeline", func(b []byte) { le.PutUint32(b[page(4)+4:], 2) }, 4},
		{"not continued", func(b []byte) { b[page(4)+2] &^= pageFirstIsCont }, 4},
		{"continued by another length", func(b []byte) { b[page(4)+16]++ }, 4},
		{"cut file", func([]byte) {}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := append([]byte(nil), seg...)
			tt.edit(b)
			if tt.name == "cut file" {
				b = b[:page(4)+100]
			}
			want := at[tt.want]
			if want%8192 == shortPageHeader {
				want -= shortPageHeader // the log ends before the page header, not behind it
			}
			if end := readImage(t, b, ctl, at[0]); end.Records != tt.want || end.LSN != want {
				t.Errorf("%+v, want %d records to %s", end, tt.want, want)
			}
		})
	}
	// Someone else's segment.
	other := ctl
	other.SystemID = 8
	if end := readImage(t, seg, other, at[0]); end.Records != 0 {
		t.Errorf("another system's: %+v", end)
	}
}

func TestWALReaderDeadline(t *testing.T) {
	seg, ctl, at := walImage(24, 24)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SegmentName(1, at[0], ctl.WALSegSize)), seg, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := &walReader{dir: dir, control: ctl, history: History{Timeline: 1}, fetched: map[string]string{}}
	defer r.close()
	if err := r.follow(ctx, at[0], &WALEnd{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Whatever is in the file, the reader ends, within the file.
func FuzzWALReader(f *testing.F) {
	f.Add(uint32(60), []byte{1, 2, 3})
	f.Add(uint32(8192), []byte{0x10, 0xD1, 9, 0})
	f.Add(uint32(40), []byte{0xFF, 0xFF, 0xFF, 0x3F})
	f.Fuzz(func(t *testing.T, at uint32, b []byte) {
		seg, ctl, starts := walImage(24, 100, 9000, 30, 30000)
		copy(seg[at%ctl.WALSegSize:], b)
		end := readImage(t, seg, ctl, starts[0])
		if end.LSN > 2<<20 || end.Records > 1<<16 {
			t.Fatalf("%+v", end)
		}
	})
}

func TestParseBackupLabel(t *testing.T) {
	text := "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nSTART TIMELINE: 3\n"
	if lsn, tli, err := parseBackupLabel(text); lsn != 0x2000028 || tli != 3 || err != nil {
		t.Error(lsn, tli, err)
	}
	for _, bad := range []string{"", "START TIMELINE: 3", "START WAL LOCATION: x", "START WAL LOCATION: 0/1\nSTART TIMELINE: y\n"} {
		if lsn, tli, err := parseBackupLabel(bad); err == nil {
			t.Errorf("%q: %s, %d", bad, lsn, tli)
		}
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`-o "-c a='b c'"`)
	f.Fuzz(func(t *testing.T, in string) {
		words, err := SplitWords(in)
		if err != nil {
			return
		}
		text := ""
		for _, w := range words {
			text += shellQuote(w) + " "
		}
		again, err := SplitWords(text)
		if err != nil || len(again) != len(words) {
			t.Fatalf("%q: %q became %q, %v", in, words, again, err)
		}
		for i := range words {
			if words[i] != again[i] {
				t.Fatalf("%q: %q became %q", in, words[i], again[i])
			}
		}
	})
}
