package main

import (
	"strings"
	"time"
)

// The benchmark's levers: GET /control/stats, POST /control/COMMAND.

func (w *world) control(asked *request, answered *answer) {
	switch command := strings.TrimPrefix(asked.path, "/control/"); command {
	case "stats":
		writeJSON(answered, w.stats())
		return
	case "watch": // {"pid": 123}: whose CPU time is looked at
		var question struct{ Pid int }
		if err := readJSON(asked, &question); err != nil {
			refuse(answered, err)
			return
		}
		w.locked(func() { w.pid = question.Pid })
	case "reset": // counts begin anew
		w.reset()
	case "begin": // the same, and live records come
		w.reset()
		w.locked(func() { w.begun, w.ended = time.Now(), time.Time{} })
	case "end": // no more live records
		w.locked(func() { w.ended = time.Now() })
	case "hold": // the backlog's records are kept back
		w.locked(func() { w.held = true })
	case "give": // they are there, and counts begin anew
		w.locked(func() { w.held = false })
		w.reset()
	case "stop-sink":
		w.locked(func() { w.sinkStopped = true })
	case "start-sink":
		w.locked(func() { w.sinkStopped = false })
	default:
		answered.status = 404
		writeJSON(answered, map[string]string{"error": "no such command: " + command})
		return
	}
	writeJSON(answered, map[string]bool{"done": true})
}

func (w *world) locked(change func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	change()
}
