package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrBadSlotName is returned for a name PostgreSQL does not take.
var ErrBadSlotName = errors.New("bad replication slot name")

// ErrSlotActive is returned when a slot that is in use should be dropped.
var ErrSlotActive = errors.New("replication slot is in use")

// SlotName is the slot of a node: prefix_node in lower case with '.' and '-'
// turned into '_', as the reference agent names them.
func SlotName(prefix, node string) (string, error) {
	name := prefix + "_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToLower(node))
	if prefix == "" || len(name) > 63 {
		return "", fmt.Errorf("%w: %q must have 1 to 63 characters", ErrBadSlotName, name)
	}
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_') {
			return "", fmt.Errorf("%w: %q has other characters than a-z, 0-9 and _", ErrBadSlotName, name)
		}
	}
	return name, nil
}

// CreateSlot makes a physical slot that keeps WAL from now on. One that exists
// is left alone.
func (c *Conn) CreateSlot(ctx context.Context, name string) error {
	_, err := c.Exec(ctx, "SELECT pg_create_physical_replication_slot("+QuoteLiteral(name)+", true)")
	if err != nil && sqlState(err) != "42710" {
		return fmt.Errorf("create replication slot %s: %w", name, err)
	}
	return nil
}

// DropSlot drops a slot; one that is not there is no error. ErrSlotActive means
// that a walsender uses it.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	_, err := c.Exec(ctx, "SELECT pg_drop_replication_slot("+QuoteLiteral(name)+")")
	switch sqlState(err) {
	case "42704":
		return nil
	case "55006":
		return fmt.Errorf("%w: %s", ErrSlotActive, name)
	}
	if err != nil {
		return fmt.Errorf("drop replication slot %s: %w", name, err)
	}
	return nil
}
