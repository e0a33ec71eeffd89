package main

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// locks lets one call at a time act on a volume or a target. Callers try again.
type locks struct {
	mutex sync.Mutex
	held  map[string]bool
}

func newLocks() *locks { return &locks{held: map[string]bool{}} }

func (l *locks) take(name string) (release func(), err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.held[name] {
		return nil, status.Errorf(codes.Aborted, "%s: another call is at it", name)
	}
	l.held[name] = true
	return func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		delete(l.held, name)
	}, nil
}
