// Package journal is where the log lines of a program go: standard error, which Pacemaker collects,
// the system log, the cluster's own log file, and a debug file that a person asked for.
//
// It owns the form of a line, the order of severity and the masking of secrets. It decides nothing:
// what is worth a line is the caller's business. No destination may fail or delay an action, so
// errors of writing are dropped.
package journal
