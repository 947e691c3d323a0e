package main

import (
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"sort"
	"strings"
)

// The part of DynamoDB's expressions that a lease table needs, evaluated while it is read: conditions with
// comparisons, attribute_exists, attribute_not_exists, AND, OR, NOT and parentheses; updates with SET (+, -,
// if_not_exists), REMOVE, ADD and DELETE. Paths are top-level names.

type expressions struct {
	names  map[string]string
	values item
}

// parser reads one expression. It evaluates what it reads against `old`; the first fault stays in `fault`.
type parser struct {
	*expressions
	tokens []string
	old    item
	fault  error
}

var token = regexp.MustCompile(`<>|<=|>=|[=<>(),+\-]|:\w+|#\w+|[A-Za-z_]\w*|\S`)

func (e *expressions) parser(text string, old item) *parser {
	return &parser{expressions: e, tokens: token.FindAllString(text, -1), old: old}
}

func (p *parser) fail(message string) {
	if p.fault == nil {
		p.fault = invalid("Invalid expression: " + message)
	}
	p.tokens = nil
}

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *parser) next() string {
	taken := p.peek()
	if taken == "" {
		p.fail("it ends too soon")
		return ""
	}
	p.tokens = p.tokens[1:]
	return taken
}

func (p *parser) accept(word string) bool {
	if !strings.EqualFold(p.peek(), word) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *parser) expect(word string) {
	if !p.accept(word) {
		p.fail(fmt.Sprintf("%s instead of %s", p.peek(), word))
	}
}

func (p *parser) path() string {
	name := p.next()
	if strings.HasPrefix(name, "#") {
		meant, known := p.names[name]
		if !known {
			p.fail("the name " + name + " is not defined")
		}
		return meant
	}
	return name
}

func (p *parser) operand() map[string]any {
	if strings.HasPrefix(p.peek(), ":") {
		name := p.next()
		value, known := p.values[name]
		if !known {
			p.fail("the value " + name + " is not defined")
		}
		return value
	}
	return p.old[p.path()]
}

// --- conditions ---

// condition says whether an expression holds of an item; an empty one always does.
func (e *expressions) condition(text string, old item) (bool, error) {
	if text == "" {
		return true, nil
	}
	p := e.parser(text, old)
	holds := p.or()
	if p.peek() != "" {
		p.fail("unexpected " + p.peek())
	}
	return holds, p.fault
}

func (p *parser) or() bool {
	holds := p.and()
	for p.accept("OR") {
		other := p.and()
		holds = holds || other
	}
	return holds
}

func (p *parser) and() bool {
	holds := p.not()
	for p.accept("AND") {
		other := p.not()
		holds = holds && other
	}
	return holds
}

func (p *parser) not() bool {
	if p.accept("NOT") {
		return !p.not()
	}
	if p.accept("(") {
		holds := p.or()
		p.expect(")")
		return holds
	}
	if p.accept("attribute_exists") {
		return p.exists()
	}
	if p.accept("attribute_not_exists") {
		return !p.exists()
	}
	left := p.operand()
	sign := p.next()
	return p.compare(sign, left, p.operand())
}

func (p *parser) exists() bool {
	p.expect("(")
	_, there := p.old[p.path()]
	p.expect(")")
	return there
}

// compare does as DynamoDB: a missing attribute and one of another type are unequal to everything and not ordered.
func (p *parser) compare(sign string, left, right map[string]any) bool {
	order, comparable := compareValues(left, right)
	switch sign {
	case "=":
		return comparable && order == 0
	case "<>":
		return !comparable || order != 0
	case "<":
		return comparable && order < 0
	case "<=":
		return comparable && order <= 0
	case ">":
		return comparable && order > 0
	case ">=":
		return comparable && order >= 0
	}
	p.fail("unexpected " + sign)
	return false
}

func compareValues(left, right map[string]any) (order int, comparable bool) {
	for kind, one := range left {
		other, same := right[kind]
		if !same {
			return 0, false
		}
		switch kind {
		case "N":
			return number(one).Cmp(number(other)), true
		case "S":
			return strings.Compare(text(one), text(other)), true
		}
		if reflect.DeepEqual(one, other) {
			return 0, true
		}
		return 1, true
	}
	return 0, false
}

func text(value any) string {
	read, _ := value.(string)
	return read
}

func number(value any) *big.Int {
	read, isOne := new(big.Int).SetString(text(value), 10)
	if !isOne {
		return new(big.Int)
	}
	return read
}

// --- updates ---

// update changes `made`, which begins as a copy of `old`.
func (e *expressions) update(text string, old, made item) error {
	p := e.parser(text, old)
	for p.peek() != "" {
		section := strings.ToUpper(p.next())
		for more := true; more; more = p.accept(",") {
			p.change(section, made)
		}
	}
	return p.fault
}

func (p *parser) change(section string, made item) {
	name := p.path()
	switch section {
	case "SET":
		p.expect("=")
		p.set(made, name, p.sum())
	case "REMOVE":
		delete(made, name)
	case "ADD":
		added := p.operand()
		if _, isNumber := added["N"]; isNumber {
			p.set(made, name, add(p.old[name], added, 1))
		} else {
			p.set(made, name, merged(p.old[name], added, true))
		}
	case "DELETE":
		if left := merged(p.old[name], p.operand(), false); left == nil {
			delete(made, name)
		} else {
			made[name] = left
		}
	default:
		p.fail("unexpected " + section)
	}
}

func (p *parser) set(made item, name string, value map[string]any) {
	if value == nil {
		p.fail("an attribute that it refers to is not there")
		return
	}
	made[name] = value
}

func (p *parser) sum() map[string]any {
	left := p.setOperand()
	switch {
	case p.accept("+"):
		return add(left, p.setOperand(), 1)
	case p.accept("-"):
		return add(left, p.setOperand(), -1)
	}
	return left
}

func (p *parser) setOperand() map[string]any {
	if !p.accept("if_not_exists") {
		return p.operand()
	}
	p.expect("(")
	name := p.path()
	p.expect(",")
	otherwise := p.operand()
	p.expect(")")
	if value, there := p.old[name]; there {
		return value
	}
	return otherwise
}

func add(left, right map[string]any, sign int64) map[string]any {
	signed := new(big.Int).Mul(number(right["N"]), big.NewInt(sign))
	return map[string]any{"N": new(big.Int).Add(number(left["N"]), signed).String()}
}

// merged is a set with others added or taken away; nil for one that is empty, which DynamoDB does not have.
func merged(have, change map[string]any, adding bool) map[string]any {
	for kind, members := range change {
		all := map[string]bool{}
		for _, member := range list(have[kind]) {
			all[member] = true
		}
		for _, member := range list(members) {
			all[member] = adding
		}
		left := []any{}
		for member, stays := range all {
			if stays {
				left = append(left, member)
			}
		}
		sort.Slice(left, func(a, b int) bool { return text(left[a]) < text(left[b]) })
		if len(left) > 0 {
			return map[string]any{kind: left}
		}
	}
	return nil
}

func list(value any) []string {
	members, _ := value.([]any)
	texts := make([]string, 0, len(members))
	for _, member := range members {
		texts = append(texts, text(member))
	}
	return texts
}
