// Package lines is the line protocol of tests/clients/driver.rs.
package lines

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"sync"
)

var output sync.Mutex

// Unadvised says whether to do without what docs/clients.md advises for the library.
var Unadvised = len(os.Args) > 1 && os.Args[1] == "unadvised"

// Held while the program works on a message.
var work sync.Mutex

func tell(format string, words ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Printf(format+"\n", words...)
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// Text tells a message, and works on it while the test wants that.
func Text(text string) {
	tell("text %s", encode(text))
	work.Lock()
	defer work.Unlock()
}

// Closed tells the end of a connection with what the library knows of it; the code is 0 if it tells none.
func Closed(code int, reason string) {
	if code == 0 {
		tell("closed - %s", encode(reason))
		return
	}
	tell("closed %d %s", code, encode(reason))
}

// Socket is an open connection.
type Socket struct {
	Send  func(text string) error
	Close func() error
	// Read tells texts until the connection ends, and then its end.
	Read func()
}

// Drive carries out the commands of the standard input.
func Drive(connect func(url string) (Socket, error)) {
	var socket Socket
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			return
		}
		command, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch command {
		case "open":
			opened, err := connect(argument)
			if err != nil {
				tell("failed %s", encode(err.Error()))
				continue
			}
			socket = opened
			tell("opened")
			go socket.Read()
		case "send":
			text, _ := base64.StdEncoding.DecodeString(argument)
			_ = socket.Send(string(text))
		case "pause":
			work.Lock()
		case "resume":
			work.Unlock()
		case "close":
			_ = socket.Close()
		}
	}
}
