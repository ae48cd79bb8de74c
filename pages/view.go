package pages

// Each view names its template, a file of that name in templates. The receivers
// are values, so that a view can be handed to Render as it is or by pointer.

func (SignIn) template() string       { return "sign-in" }
func (CheckMail) template() string    { return "check-mail" }
func (OtherBrowser) template() string { return "other-browser" }
func (ConfirmLink) template() string  { return "confirm-link" }
func (Refused) template() string      { return "refused" }
func (Limited) template() string      { return "limited" }
func (Expired) template() string      { return "expired" }
func (SignedOut) template() string    { return "signed-out" }
func (UnsentForm) template() string   { return "unsent-form" }
func (Failure) template() string      { return "failure" }
func (Account) template() string      { return "account" }

func (c Common) common() *Common { return &c }
