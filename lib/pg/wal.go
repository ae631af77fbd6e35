package pg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Page and record layout of the write-ahead log, the same in PostgreSQL 13 to
// 18 on 64-bit little-endian machines (xlog_internal.h, xlogrecord.h).
const (
	shortPageHeader = 24
	longPageHeader  = 40
	recordHeader    = 24
	recordCRCOffset = 20

	pageFirstIsCont      = 0x0001 // the page begins with the rest of a record
	pageLongHeader       = 0x0002 // first page of a segment
	pageFirstIsOverwrite = 0x0008 // the record before was given up by a crash
	pageAllFlags         = 0x000F

	rmgrXLOG      = 0
	infoSwitch    = 0x40 // rest of the segment is empty
	infoMask      = 0xF0
	maxRecordSize = 1020 << 20

	walChunk = 1 << 20 // read at once
)

// errWALEnd says why a record is not there; the log ends before it.
var errWALEnd = errors.New("end of WAL")

func walEnd(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errWALEnd, fmt.Sprintf(format, a...))
}

// pageHeader is the part of a page header that is looked at.
type pageHeader struct {
	flags  uint16
	tli    Timeline
	remLen uint32
	size   int
}

// FetchSegment brings a segment from elsewhere, as restore_command does, and
// says where it put it; an empty path means that there is none.
type FetchSegment func(ctx context.Context, name string) (path string, err error)

// walReader reads records of one history forward. It trusts nothing: every page
// must have its own address, every record its checksum and the link to the one
// before, since the files are recycled and the rest of one is older WAL.
type walReader struct {
	dir     string
	control ControlData
	history History
	fetch   FetchSegment // nil for none

	magic   uint16              // of the first page read; 0 before
	fetched map[string]string   // segment name -> path, "" for not to be had
	files   map[string]*os.File // open segments by path
	chunk   []byte
	from    string // path and offset of chunk
	at      int64
}

// walRecord is what a record leaves after it was checked.
type walRecord struct {
	start, next LSN // next is where the following record begins, and the end of this one
	prev        LSN
	rmgr, info  uint8
}

func (r *walReader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
	r.files = nil
}

// candidates are the timelines whose segment may hold the byte at lsn, newest
// first: a segment in which a timeline begins also exists under its ancestors'
// names, with the part before in common.
func (r *walReader) candidates(lsn LSN) []Timeline {
	seg := lsn - lsn%LSN(r.control.WALSegSize)
	oldest := r.history.TimelineOf(lsn)
	var out []Timeline
	begin := r.history.Begin()
	if seg+LSN(r.control.WALSegSize) > begin {
		out = append(out, r.history.Timeline)
	}
	for i := len(r.history.Ancestors) - 1; i >= 0; i-- {
		a := r.history.Ancestors[i]
		begin = 0
		if i > 0 {
			begin = r.history.Ancestors[i-1].End
		}
		if a.Timeline >= oldest && seg+LSN(r.control.WALSegSize) > begin {
			out = append(out, a.Timeline)
		}
	}
	return out
}

// page finds the page that holds lsn in the newest segment that has it, checks
// its header and gives the whole page.
func (r *walReader) page(ctx context.Context, lsn LSN) ([]byte, pageHeader, error) {
	start := lsn - lsn%LSN(r.control.WALBlockSize)
	why := walEnd("no segment holds %s", lsn)
	for _, tli := range r.candidates(lsn) {
		name := SegmentName(tli, lsn, r.control.WALSegSize)
		paths := []string{filepath.Join(r.dir, name)}
		if p := r.fetched[name]; p != "" {
			// It was fetched because the local one failed.
			paths = []string{p, paths[0]}
		}
		for _, path := range paths {
			b, err := r.read(path, start)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, pageHeader{}, err
			}
			h, err := r.checkPage(b, start, tli)
			if err == nil {
				return b, h, nil
			}
			why = err
		}
	}
	if r.fetch != nil {
		again, err := r.fetchAny(ctx, lsn)
		if err != nil {
			return nil, pageHeader{}, err
		}
		if again {
			return r.page(ctx, lsn)
		}
	}
	return nil, pageHeader{}, why
}

// fetchAny asks for the segments of lsn that have not been asked for yet, and
// says whether one came.
func (r *walReader) fetchAny(ctx context.Context, lsn LSN) (bool, error) {
	if r.fetch == nil {
		return false, nil
	}
	for _, tli := range r.candidates(lsn) {
		name := SegmentName(tli, lsn, r.control.WALSegSize)
		if _, asked := r.fetched[name]; asked {
			continue
		}
		path, err := r.fetch(ctx, name)
		if err != nil {
			return false, fmt.Errorf("fetch WAL segment %s: %w", name, err)
		}
		r.fetched[name] = path
		if path != "" {
			return true, nil
		}
	}
	return false, nil
}

// read gives the page at start out of a segment file, a chunk at a time.
func (r *walReader) read(path string, start LSN) ([]byte, error) {
	off := int64(start % LSN(r.control.WALSegSize))
	size := int64(r.control.WALBlockSize)
	if r.from == path && off >= r.at && off+size <= r.at+int64(len(r.chunk)) {
		return r.chunk[off-r.at:][:size], nil
	}
	f := r.files[path]
	if f == nil {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		r.close() // one at a time: records are read in order
		r.files = map[string]*os.File{path: f}
	}
	if cap(r.chunk) == 0 {
		r.chunk = make([]byte, walChunk)
	}
	r.from = ""
	n, err := f.ReadAt(r.chunk[:cap(r.chunk)], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	r.from, r.at, r.chunk = path, off, r.chunk[:n]
	if int64(n) < size {
		return nil, fs.ErrNotExist // a segment cut short has no such page
	}
	return r.chunk[:size], nil
}

// checkPage checks a page header as XLogReaderValidatePageHeader does.
func (r *walReader) checkPage(b []byte, start LSN, file Timeline) (pageHeader, error) {
	le := binary.LittleEndian
	magic := le.Uint16(b)
	h := pageHeader{flags: le.Uint16(b[2:]), tli: Timeline(le.Uint32(b[4:])), remLen: le.Uint32(b[16:]), size: shortPageHeader}
	switch {
	case magic>>8 != walMagicHigh || r.magic != 0 && magic != r.magic:
		return h, walEnd("page at %s has magic %04X", start, magic)
	case LSN(le.Uint64(b[8:])) != start:
		return h, walEnd("page at %s belongs to %s", start, LSN(le.Uint64(b[8:])))
	case h.flags&^pageAllFlags != 0:
		return h, walEnd("page at %s has flags %04X", start, h.flags)
	case h.tli > file || !r.knows(h.tli):
		return h, walEnd("page at %s is of timeline %d", start, h.tli)
	}
	first := start%LSN(r.control.WALSegSize) == 0
	if long := h.flags&pageLongHeader != 0; long != first {
		return h, walEnd("page at %s has the wrong kind of header", start)
	}
	if first {
		h.size = longPageHeader
		if id := le.Uint64(b[24:]); id != r.control.SystemID {
			return h, walEnd("segment at %s is of system %d", start, id)
		}
		if seg, blk := le.Uint32(b[32:]), le.Uint32(b[36:]); seg != r.control.WALSegSize || blk != r.control.WALBlockSize {
			return h, walEnd("segment at %s has sizes %d and %d", start, seg, blk)
		}
	}
	r.magic = magic
	return h, nil
}

// knows says whether a page may be of that timeline.
func (r *walReader) knows(tli Timeline) bool {
	_, ok := r.history.Left(tli)
	return ok || tli == r.history.Timeline
}

// next reads the record that begins at lsn, or behind the page header there.
// prev is the beginning of the record before, 0 when it is not known. An error
// that wraps errWALEnd means that the log ends here.
func (r *walReader) next(ctx context.Context, lsn, prev LSN) (walRecord, error) {
	for {
		rec, err := r.once(ctx, lsn, prev)
		if !errors.Is(err, errWALEnd) {
			return rec, err
		}
		// What a crash has torn here an archive may have whole.
		again, ferr := r.fetchAny(ctx, lsn)
		if ferr != nil {
			return walRecord{}, ferr
		}
		if !again {
			return walRecord{}, err
		}
	}
}

func (r *walReader) once(ctx context.Context, lsn, prev LSN) (walRecord, error) {
	block := LSN(r.control.WALBlockSize)
	if err := ctx.Err(); err != nil {
		return walRecord{}, err
	}
restart:
	page, h, err := r.page(ctx, lsn)
	if err != nil {
		return walRecord{}, err
	}
	off := int(lsn % block)
	if off == 0 {
		off = h.size
		lsn += LSN(h.size)
	}
	if off < h.size {
		return walRecord{}, walEnd("%s is inside a page header", lsn)
	}
	if off == h.size && h.flags&pageFirstIsCont != 0 {
		return walRecord{}, walEnd("the page at %s continues an unknown record", lsn)
	}
	// Records begin at multiples of 8, so the length is never split.
	total := binary.LittleEndian.Uint32(page[off:])
	if total < recordHeader || total > maxRecordSize {
		return walRecord{}, walEnd("record at %s has length %d", lsn, total)
	}
	rec := walRecord{start: lsn}
	sum := recordSum{}
	body := page[off:min(len(page), off+int(total))]
	sum.add(body)
	if sum.n >= recordHeader && !sum.linked(lsn, prev) {
		return walRecord{}, walEnd("record at %s follows %s", lsn, sum.prev())
	}
	left := int(total) - len(body)
	rec.next = lsn + align8(LSN(total))
	at := lsn - lsn%block
	for left > 0 {
		at += block
		page, h, err = r.page(ctx, at)
		if err != nil {
			return walRecord{}, err
		}
		if h.flags&pageFirstIsOverwrite != 0 {
			// A crash cut the record; the server went on from this page.
			lsn = at
			goto restart
		}
		if h.flags&pageFirstIsCont == 0 || h.remLen != uint32(left) {
			return walRecord{}, walEnd("the page at %s does not continue the record at %s", at, lsn)
		}
		body = page[h.size:min(len(page), h.size+left)]
		sum.add(body)
		left -= len(body)
		rec.next = at + LSN(h.size) + align8(LSN(len(body)))
	}
	if !sum.linked(lsn, prev) {
		return walRecord{}, walEnd("record at %s follows %s", lsn, sum.prev())
	}
	if !sum.ok() {
		return walRecord{}, walEnd("record at %s has a wrong checksum", lsn)
	}
	rec.prev, rec.info, rec.rmgr = sum.prev(), sum.head[16], sum.head[17]
	if rec.rmgr == rmgrXLOG && rec.info&infoMask == infoSwitch {
		seg := LSN(r.control.WALSegSize)
		rec.next += seg - 1
		rec.next -= rec.next % seg
	}
	return rec, nil
}

func align8(l LSN) LSN { return (l + 7) &^ 7 }

// recordSum gathers a record's header and the checksum of the rest.
type recordSum struct {
	head [recordHeader]byte
	n    int
	crc  uint32
}

func (s *recordSum) add(b []byte) {
	if s.n < recordHeader {
		k := copy(s.head[s.n:], b)
		s.n += k
		b = b[k:]
	}
	s.crc = crc32.Update(s.crc, castagnoli(), b)
}

func (s *recordSum) prev() LSN { return LSN(binary.LittleEndian.Uint64(s.head[8:])) }

// linked says whether the record points back to the one before.
func (s *recordSum) linked(lsn, prev LSN) bool {
	if prev == 0 {
		return s.prev() < lsn
	}
	return s.prev() == prev
}

func (s *recordSum) ok() bool {
	return crc32.Update(s.crc, castagnoli(), s.head[:recordCRCOffset]) == binary.LittleEndian.Uint32(s.head[recordCRCOffset:])
}
