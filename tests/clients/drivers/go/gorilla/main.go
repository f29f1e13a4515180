// Command gorilla drives github.com/gorilla/websocket.
package main

import (
	"errors"
	"fmt"

	"chatnode/drivers/lines"

	"github.com/gorilla/websocket"
)

func main() {
	lines.Drive(func(url string) (lines.Socket, error) {
		conn, answer, err := websocket.DefaultDialer.Dial(url, nil)
		if err != nil {
			if answer != nil {
				err = fmt.Errorf("%w: %s", err, answer.Status)
			}
			return lines.Socket{}, err
		}
		read := func() {
			for {
				_, text, err := conn.ReadMessage()
				var end *websocket.CloseError
				if errors.As(err, &end) {
					lines.Closed(end.Code, end.Text)
					return
				} else if err != nil {
					lines.Closed(0, err.Error())
					return
				}
				lines.Text(string(text))
			}
		}
		send := func(text string) error { return conn.WriteMessage(websocket.TextMessage, []byte(text)) }
		return lines.Socket{Send: send, Close: conn.Close, Read: read}, nil
	})
}
