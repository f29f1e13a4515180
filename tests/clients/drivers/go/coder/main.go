// Command coder drives github.com/coder/websocket.
package main

import (
	"context"
	"errors"

	"chatnode/drivers/lines"

	"github.com/coder/websocket"
)

func main() {
	lines.Drive(func(url string) (lines.Socket, error) {
		conn, _, err := websocket.Dial(context.Background(), url, nil)
		if err != nil {
			return lines.Socket{}, err
		}
		read := func() {
			for {
				_, text, err := conn.Read(context.Background())
				var end websocket.CloseError
				if errors.As(err, &end) {
					lines.Closed(int(end.Code), end.Reason)
					return
				} else if err != nil {
					lines.Closed(0, err.Error())
					return
				}
				lines.Text(string(text))
			}
		}
		send := func(text string) error {
			return conn.Write(context.Background(), websocket.MessageText, []byte(text))
		}
		stop := func() error { return conn.Close(websocket.StatusNormalClosure, "") }
		return lines.Socket{Send: send, Close: stop, Read: read}, nil
	})
}
