package contract

import "testing"

func TestMetadata(t *testing.T) { pgsql.CheckMetadata(t, 33, 10) }
