//! Every sentence of the portal, in Russian and in English.

use super::request::Language;
use super::token::Refusal;
use super::view::{Finding, Why};
use crate::config::Tier;

/// The sentences of one language.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) language: Language,
    pub(super) other: Language,
    pub(super) other_name: &'static str,
    pub(super) service: &'static str,
    pub(super) blocked: &'static str,
    pub(super) blocked_lead: &'static str,
    pub(super) warned: &'static str,
    pub(super) warned_lead: &'static str,
    pub(super) nothing: &'static str,
    pub(super) nothing_lead: &'static str,
    pub(super) unknown: &'static str,
    pub(super) unknown_lead: &'static str,
    pub(super) not_enrolled_lead: &'static str,
    pub(super) asked: &'static str,
    pub(super) reason: &'static str,
    pub(super) category: &'static str,
    pub(super) age: &'static str,
    pub(super) registry: &'static str,
    pub(super) reference: &'static str,
    pub(super) decision: &'static str,
    pub(super) go_on: &'static str,
    pub(super) go_back: &'static str,
    /// Minutes stand between the halves.
    pub(super) consent: [&'static str; 2],
    pub(super) shared: &'static str,
    pub(super) elsewhere: &'static str,
    pub(super) elsewhere_link: &'static str,
    pub(super) granted: &'static str,
    /// Minutes stand between the halves.
    pub(super) granted_lead: [&'static str; 2],
    pub(super) back: &'static str,
    pub(super) back_lead: &'static str,
    pub(super) why: &'static str,
    pub(super) why_lead: &'static str,
    pub(super) why_label: &'static str,
    pub(super) why_button: &'static str,
    pub(super) why_link: &'static str,
    pub(super) not_a_name: &'static str,
    pub(super) appeal: &'static str,
    pub(super) appeal_usual: &'static str,
    pub(super) appeal_unified: &'static str,
    pub(super) contact: &'static str,
    pub(super) refused: &'static str,
    pub(super) not_found: &'static str,
    pub(super) not_found_lead: &'static str,
    pub(super) busy: &'static str,
    pub(super) busy_lead: &'static str,
}

/// The sentences of a language.
pub(super) fn texts(language: Language) -> &'static Texts {
    match language {
        Language::Russian => &RUSSIAN,
        Language::English => &ENGLISH,
    }
}

static RUSSIAN: Texts = Texts {
    language: Language::Russian,
    other: Language::English,
    other_name: "English",
    service: "Контентная фильтрация образовательной организации",
    blocked: "Доступ ограничен",
    blocked_lead: "Этот ресурс нельзя открыть из сети вашей образовательной организации.",
    warned: "Возможно, это неподходящий ресурс",
    warned_lead: "Решите сами: вернуться или продолжить.",
    nothing: "Ограничений нет",
    nothing_lead: "Фильтр не ограничивает этот ресурс для вашей организации. Если он не открывается, причина в другом.",
    unknown: "Доступ ограничен",
    unknown_lead: "Подробности сейчас неизвестны: списки могли обновиться. Откройте ресурс ещё раз или укажите его имя на странице «Почему?».",
    not_enrolled_lead: "Ваш адрес не относится ни к одной образовательной организации, поэтому фильтр на него не действует.",
    asked: "Ресурс",
    reason: "Причина",
    category: "Категория",
    age: "Возрастная категория",
    registry: "Реестр",
    reference: "Номер записи",
    decision: "Решение",
    go_on: "Продолжить",
    go_back: "Вернуться",
    consent: [
        "Если продолжить, доступ к этому ресурсу откроется на ",
        " мин.",
    ],
    shared: "Доступ получит сетевой адрес, с которого вы подключены. Если за этим адресом работают несколько компьютеров, доступ откроется для всех.",
    elsewhere: "Чтобы продолжить, откройте страницу фильтра:",
    elsewhere_link: "страница предупреждения",
    granted: "Доступ открыт",
    granted_lead: [
        "Осталось минут: ",
        ". Вернитесь к нужной странице и откройте её ещё раз. Не сохраняется ни кто, ни что открывал.",
    ],
    back: "Ничего не открыто",
    back_lead: "Страницу можно закрыть или вернуться назад кнопкой браузера.",
    why: "Почему ресурс не открывается?",
    why_lead: "Для защищённых страниц (https) браузер не может показать объяснение. Введите имя сайта, и фильтр скажет, ограничен ли он для вашей организации и почему.",
    why_label: "Имя сайта, например example.org",
    why_button: "Узнать",
    why_link: "Почему не открывается другой сайт?",
    not_a_name: "Это не похоже на имя сайта или адрес.",
    appeal: "Если это ошибка",
    appeal_usual: "Сообщите номер записи и имя сайта ответственному в вашей организации или оператору связи.",
    appeal_unified: "Записи Единого реестра вносят по решению государственных органов; оператор связи не может их отменить. Решение обжалуют в органе, который его принял, или в суде.",
    contact: "Связь с оператором",
    refused: "Запрос отклонён",
    not_found: "Такой страницы нет",
    not_found_lead: "На этом сервере есть только страницы фильтра.",
    busy: "Слишком много запросов",
    busy_lead: "Подождите немного и откройте страницу ещё раз.",
};

static ENGLISH: Texts = Texts {
    language: Language::English,
    other: Language::Russian,
    other_name: "Русский",
    service: "Content filter for educational organisations",
    blocked: "Access is restricted",
    blocked_lead: "This resource cannot be opened from your school's network.",
    warned: "This resource may be unsuitable",
    warned_lead: "It is your choice: go back, or continue.",
    nothing: "Nothing is restricted",
    nothing_lead: "The filter does not restrict this resource for your organisation. If it does not open, something else is the cause.",
    unknown: "Access is restricted",
    unknown_lead: "Details are not known at this moment: the lists may have been updated. Open the resource again, or ask for its name on the \u{201c}Why?\u{201d} page.",
    not_enrolled_lead: "Your address belongs to no educational organisation, so that the filter does not act on it.",
    asked: "Resource",
    reason: "Reason",
    category: "Category",
    age: "Age mark",
    registry: "Registry",
    reference: "Entry",
    decision: "Decision",
    go_on: "Continue",
    go_back: "Go back",
    consent: [
        "If you continue, access to this resource is open for ",
        " minutes.",
    ],
    shared: "It is open for the network address from which you are connected. If several computers share that address, it is open for all of them.",
    elsewhere: "To continue, open the filter's own page:",
    elsewhere_link: "the warning",
    granted: "Access is open",
    granted_lead: [
        "Minutes left: ",
        ". Go back to the page that you wanted and open it again. Neither who nor what is kept.",
    ],
    back: "Nothing was opened",
    back_lead: "You may close this page, or go back with your browser's button.",
    why: "Why does a site not open?",
    why_lead: "For secure pages (https) the browser cannot show an explanation. Type the site's name, and the filter tells whether it is restricted for your organisation, and why.",
    why_label: "Name of the site, such as example.org",
    why_button: "Ask",
    why_link: "Why does another site not open?",
    not_a_name: "This does not look like the name of a site or an address.",
    appeal: "If this is a mistake",
    appeal_usual: "Tell the entry and the name of the site to the person in charge at your organisation, or to the provider.",
    appeal_unified: "Entries of the Unified Registry follow decisions of state bodies; the provider cannot lift them. Object to the body that decided, or in court.",
    contact: "The provider",
    refused: "The request was refused",
    not_found: "There is no such page",
    not_found_lead: "This server has the filter's own pages only.",
    busy: "Too many requests",
    busy_lead: "Wait a moment, then open the page again.",
};

impl Texts {
    /// The reason in a sentence; none where the heading says it all.
    pub(super) fn because(&self, finding: &Finding) -> Option<&'static str> {
        let [russian, english] = match finding.why {
            Why::Unified => [
                "Ресурс внесён в Единый реестр запрещённой информации.",
                "It is in the Unified Registry of unlawful information.",
            ],
            Why::Education => [
                "Ресурс внесён в реестр НСОР: он причиняет вред детям или не соответствует задачам образования.",
                "It is in the education registry: harmful to children, or not compatible with education.",
            ],
            Why::Local => [
                "Ресурс внесён в местный список вашей организации или оператора.",
                "It is on a local list of your organisation or the provider.",
            ],
            Why::Hiding => [
                "Так программы скрывают от сети, какие ресурсы запрашивают; в этой сети это закрыто.",
                "It lets programs hide from the network what they ask for; this network does not allow that.",
            ],
            Why::Age => [
                "Возрастная категория ресурса выше, чем у пользователей этой сети.",
                "Its age mark is above that of the users of this network.",
            ],
            Why::AllowOnly => [
                "Сейчас в этой сети открыты только разрешённые ресурсы.",
                "At present only permitted resources are open in this network.",
            ],
            Why::Warned if finding.tier == Some(Tier::Suspicious) => [
                "В ресурсе замечены признаки опасности; эксперт его ещё не проверил.",
                "It shows signs of danger; an expert has not yet reviewed it.",
            ],
            Why::Warned => [
                "Ресурс относится к категории, о которой в этой сети предупреждают.",
                "It is in a category that this network warns of.",
            ],
            Why::Nothing | Why::Unknown => return None,
        };
        Some(self.pick(russian, english))
    }

    /// The name of a registry.
    pub(super) fn registry_name(&self, tier: Tier) -> &'static str {
        let [russian, english] = match tier {
            Tier::Unified => ["Единый реестр", "Unified Registry"],
            Tier::Nsor => ["Реестр НСОР", "Education registry"],
            Tier::Local => ["Местный список", "Local list"],
            Tier::Suspicious => ["Ещё не проверено", "Not yet reviewed"],
            Tier::EncryptedDns => ["Шифрованный DNS", "Encrypted DNS"],
            Tier::Ech => ["Скрытые имена (ECH)", "Hidden names (ECH)"],
        };
        self.pick(russian, english)
    }

    /// Why a "continue" was refused.
    pub(super) fn refusal(&self, refusal: Option<Refusal>) -> &'static str {
        let [russian, english] = match refusal {
            Some(Refusal::Expired) => [
                "Страница предупреждения устарела. Откройте ресурс ещё раз.",
                "The warning page is too old. Open the resource again.",
            ],
            Some(Refusal::Replayed) => [
                "Это подтверждение уже использовано. Откройте ресурс ещё раз.",
                "This confirmation was used before. Open the resource again.",
            ],
            Some(Refusal::Busy) => [
                "Сейчас слишком много подтверждений. Подождите немного.",
                "There are too many confirmations now. Wait a moment.",
            ],
            Some(Refusal::Forged) | None => [
                "Подтверждение принимается только со страницы предупреждения и с того же адреса.",
                "A confirmation is taken from the warning page only, and from the same address.",
            ],
        };
        self.pick(russian, english)
    }

    fn pick(&self, russian: &'static str, english: &'static str) -> &'static str {
        match self.language {
            Language::Russian => russian,
            Language::English => english,
        }
    }
}
