// Package node is one machine of the lab: namespaces of its own over an
// overlay of the host's root file system, with a small first process.
//
// It owns what a machine is (files, mounts, first process, power) and not what
// it is used for: which programs start at boot is one shell script it is given.
package node

import (
	"path/filepath"

	"pgrex/tests/lab/network"
)

// Config is what the first process of a node needs to know.
type Config struct {
	// Name is the host name, n1 to n5.
	Name string
	// Index counts the nodes from 1; addresses follow from it.
	Index int
	// Dir holds the node's files on the host: its disk and mount points.
	Dir string
	// Lower is the root file system below the overlay, normally "/".
	Lower string
	// OwnWAL puts pg_wal on a block device of its own, where data is on one.
	OwnWAL bool
	// Disk is the block device on /disk, Volume the one on DataVolume, WAL the one on
	// WALVolume; each is empty when there is none.
	Disk, Volume, WAL string
	// Loop is the number of a block device the node gets as /dev/labdisk.
	Loop uint64
	// LANs are the networks the node is plugged into.
	LANs []network.LAN
	// Boot is a shell script inside the node that is run at boot, in the
	// node.
	Boot string
}

// Upper is the directory whose files lie over the host's: writing there before
// a boot is how files get into a node.
func (c Config) Upper() string { return filepath.Join(c.Dir, "upper") }

// Logs is the node's /var/log as the lab's daemon sees it, kept over power
// cycles on every kind of disk: it is for the person reading, not for the node.
func (c Config) Logs() string { return filepath.Join(c.Dir, "log") }

func (c Config) work() string { return filepath.Join(c.Dir, "work") }
func (c Config) root() string { return filepath.Join(c.Dir, "root") }

// DataVolume is where the file system of PostgreSQL's data and WAL is: a device
// of its own, as where it can fill up or hang without the system's.
const DataVolume = "/dbfp"

// WALVolume is the directory that pg_wal is in, as the documented initdb --waldir has
// it. With Config.OwnWAL it is a small device of its own.
const WALVolume = "/dbfp/pgwal"

// Durable are the directories that are on the other block device when there is
// one: the agents' tmpdir and the cluster's memory.
func Durable() []string { return []string{"/var/lib/pgsql", "/var/lib/pacemaker"} }
